//! The proving ground: simulated seams with faults, seeds and invariants. Never shipped.
