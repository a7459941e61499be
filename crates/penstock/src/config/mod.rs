//! Configuration: one TOML file, the environment and `--set`, laid over the defaults. The schema declares every
//! key once; the layers are merged, then walked key by key, so that every value keeps its origin and all problems
//! are reported together. Nothing outside this module reads the environment or the file.

mod assemble;
mod cross;
mod derive;
mod effective;
pub(crate) mod form;
mod layers;
mod load;
mod prefixes;
mod problem;
mod schema;
pub(crate) mod settings;
mod suggest;
#[cfg(test)]
mod tests;
mod unit;
mod value;

pub(crate) use load::{Surroundings, load};
pub(crate) use problem::Problems;
#[cfg(test)]
pub(crate) use schema::is_section;
