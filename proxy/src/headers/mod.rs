//! What crosses the border towards an application and back. Pure: headers in, headers out.

pub mod forwarded;
pub mod lines;
pub mod names;
pub mod relay;
pub mod render;
pub mod response;
pub mod scrub;

/// How context headers look.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What every context header begins with; lower case, ends with `-` (`x-context-`).
    pub prefix: String,
    /// Largest sum of names and values of all context headers and signatures, in bytes (8 KiB).
    pub budget: usize,
}
