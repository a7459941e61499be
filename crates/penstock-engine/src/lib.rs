//! Motion: tasks, channels, the memory budget, drain, and the seams to the outside.
