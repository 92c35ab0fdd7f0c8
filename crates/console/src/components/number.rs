//! Numbers: one place decides on the format of each kind.

use canon::Pico;
use maud::{Markup, html};

/// An amount of money: six digits below a cent, four below a dollar, two above. Without a price the text says so.
pub fn money(amount: Option<Pico>) -> Markup {
    match amount {
        None => unpriced(),
        Some(Pico(0)) => html! { span.t3 { "$0" } },
        Some(amount) => html! { (dollars(amount)) },
    }
}

/// The text for an unknown price.
pub fn unpriced() -> Markup {
    html! { span.unpriced title="No price is known for this model at this provider" { "unpriced" } }
}

/// A sum without the requests of unknown price, with their number.
pub fn sum(amount: Pico, unpriced: u64) -> Markup {
    html! {
        (money(Some(amount)))
        @if unpriced > 0 {
            " "
            span.unpriced title="Requests without a known price; the sum does not include them" { "+ " (count(unpriced)) " unpriced" }
        }
    }
}

/// `$1,234.57`, `$0.0421`, `$0.000671`
pub fn dollars(amount: Pico) -> String {
    let (size, dollar) = (amount.0.unsigned_abs(), Pico::USD.0.unsigned_abs());
    let digits = if size >= dollar || size == 0 {
        2
    } else if size >= dollar / 100 {
        4
    } else {
        6
    };
    let step = 10_u64.pow(12 - digits);
    let rounded = (size + step / 2) / step;
    // An amount that rounds to zero is shown in full.
    if rounded == 0 && size > 0 {
        return format!("${amount}");
    }
    let scale = 10_u64.pow(digits);
    let sign = if amount.0 < 0 { "−" } else { "" };
    format!("{sign}${}.{:0width$}", count(rounded / scale), rounded % scale, width = digits as usize)
}

/// All twelve digits of the ledger; zeros behind the last one are dim.
pub fn exact(amount: Option<Pico>) -> Markup {
    let Some(amount) = amount else { return unpriced() };
    let (size, dollar) = (amount.0.unsigned_abs(), Pico::USD.0.unsigned_abs());
    let digits = format!("{:012}", size % dollar);
    let shown = digits.trim_end_matches('0').len().max(2);
    let sign = if amount.0 < 0 { "−" } else { "" };
    html! {
        span.mono.dig { (sign) "$" (count(size / dollar)) "." (digits[..shown]) i { (digits[shown..]) } }
    }
}

/// `6,214`
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count whose zero is grey.
pub fn quiet_count(number: u64) -> Markup {
    match number {
        0 => html! { span.t3 { "0" } },
        number => html! { (count(number)) },
    }
}

/// `23.9k`, `240k`: for figures only.
pub fn short(number: u64) -> String {
    let figure = number as f64;
    for (limit, unit) in [(1e9, "B"), (1e6, "M"), (1e3, "k")] {
        let value = figure / limit;
        if value >= 100.0 {
            return format!("{value:.0}{unit}");
        }
        if value >= 1.0 {
            let text = format!("{value:.1}");
            return format!("{}{unit}", text.strip_suffix(".0").unwrap_or(&text));
        }
    }
    number.to_string()
}

/// `853 ms`, `2.04 s`
pub fn duration(ms: f64) -> String {
    match ms {
        // Records have whole milliseconds.
        ms if ms < 1000.0 && ms.fract() == 0.0 => format!("{ms:.0} ms"),
        ms if ms < 1.0 => format!("{ms:.2} ms"),
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms if ms < 100_000.0 => format!("{:.2} s", ms / 1000.0),
        ms => format!("{:.0} s", ms / 1000.0),
    }
}

/// A duration that may be absent.
pub fn maybe_duration(ms: Option<f64>) -> Markup {
    ms.map_or_else(absent, |ms| html! { (duration(ms)) })
}

/// `99.98 %`
pub fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// `128k`, `1.05M`
pub fn tokens(number: Option<u64>) -> Markup {
    match number {
        None | Some(0) => absent(),
        Some(number) if number >= 1_000_000 => {
            let text = format!("{:.2}", number as f64 / 1e6);
            html! { (text.trim_end_matches('0').trim_end_matches('.')) "M" }
        }
        Some(number) if number >= 1000 => html! { (format!("{:.0}k", number as f64 / 1e3)) },
        Some(number) => html! { (number) },
    }
}

/// Bytes in the unit that fits.
pub fn bytes(number: u64) -> String {
    match number {
        0 => "empty".to_owned(),
        number if number < 1 << 10 => format!("{number} B"),
        number if number < 1 << 20 => format!("{:.1} KiB", number as f64 / 1024.0),
        number => format!("{:.1} MiB", number as f64 / 1_048_576.0),
    }
}

/// A missing value.
pub fn absent() -> Markup {
    html! { span.t3 { "–" } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(text: &str) -> Pico {
        text.parse().unwrap()
    }

    #[test]
    fn money_has_the_digits_that_matter_and_unknown_is_not_zero() {
        for (amount, shown) in [
            ("0.000671", "$0.000671"),
            ("0.00067074", "$0.000671"),
            ("0.0421", "$0.0421"),
            ("0.01", "$0.0100"),
            ("1", "$1.00"),
            ("4150.224", "$4,150.22"),
            ("1234567.891", "$1,234,567.89"),
            ("0.999999", "$1.0000"),
            ("0.000000000125", "$0.000000000125"),
        ] {
            assert_eq!(dollars(usd(amount)), shown);
        }
        assert!(money(None).into_string().contains("unpriced"));
        assert!(money(Some(Pico(0))).into_string().contains("$0"));
        assert!(sum(usd("1"), 412).into_string().contains("+ 412 unpriced"));
    }

    #[test]
    fn exact_money_has_twelve_digits() {
        let text = exact(Some(usd("0.00067074"))).into_string();
        assert_eq!(text, r#"<span class="mono dig">$0.00067074<i>0000</i></span>"#);
        assert!(exact(Some(usd("12.5"))).into_string().contains("$12.50<i>0000000000</i>"));
        assert!(exact(None).into_string().contains("unpriced"));
    }

    #[test]
    fn other_numbers_have_their_formats() {
        assert_eq!([count(6214), short(239_900), short(100_000)], ["6,214", "240k", "100k"]);
        assert_eq!([duration(853.0), duration(2041.0)], ["853 ms", "2.04 s"]);
        assert_eq!(tokens(Some(1_048_576)).into_string(), "1.05M");
    }
}
