//! Parts that pages are made of: one function each.

pub mod chart;
pub mod icon;
pub mod number;
pub mod page;
pub mod parts;
pub mod time;

pub use icon::{icon, mark};
pub use page::Page;
pub use parts::{Panel, Table, empty, form_token, state};
