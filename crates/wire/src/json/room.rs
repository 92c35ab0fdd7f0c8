//! Lists of which there may be many entries, each larger than its text.

/// Appends to a list that grows by a quarter. One that doubles holds three times its entries while it grows.
pub fn push<T>(list: &mut Vec<T>, item: T) {
    if list.len() == list.capacity() {
        list.reserve_exact((list.len() / 4).max(1));
    }
    list.push(item);
}
