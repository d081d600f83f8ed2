//! How sessions begin, change and end.
