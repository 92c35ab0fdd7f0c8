//! Lists of which there may be many entries, each larger than its text.

/// Appends to a list that grows by a quarter. One that doubles holds three times its entries while it grows.
pub fn push<T>(list: &mut Vec<T>, item: T) {
    make(list);
    list.push(item);
}

/// Makes room for one more.
pub fn make<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact((list.len() / 4).max(1));
    }
}
