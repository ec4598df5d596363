//! The customer's tracking page.

pub mod render;
pub mod view;
pub mod words;
