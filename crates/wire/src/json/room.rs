//! Growth of lists with many entries, each larger than its text.

/// Appends to a list that grows by a quarter. A list that doubles holds three times its entries while it
/// grows.
pub fn push<T>(list: &mut Vec<T>, item: T) {
    make(list);
    list.push(item);
}

/// Makes space for one more entry.
pub fn make<T>(list: &mut Vec<T>) {
    make_for(list, 1);
}

fn make_for<T>(list: &mut Vec<T>, more: usize) {
    if list.capacity() - list.len() < more {
        list.reserve_exact((list.len() / 4).max(more));
    }
}
