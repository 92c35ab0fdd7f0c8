//! The duration of a recording, read from its own headers: for providers whose answers do not contain it.

/// Bit rates of MPEG-1 layer III, and below of MPEG-2 and 2.5, in kbit/s (ISO 11172-3, 13818-3).
const MPEG1: [u32; 16] = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0];
const MPEG2: [u32; 16] = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0];
/// Samples per second of MPEG-1. MPEG-2 has half as many, MPEG-2.5 a quarter.
const RATES: [u32; 4] = [44_100, 48_000, 32_000, 0];
/// Longer durations are not plausible: one day, in seconds.
const LONGEST: f64 = 86_400.0;

/// The duration in milliseconds; none where the bytes do not contain it. `whole` means that `file` is the
/// complete file.
pub fn milliseconds(file: &[u8], whole: bool) -> Option<u64> {
    let seconds = match file {
        [b'R', b'I', b'F', b'F', ..] => wav(file, whole),
        [b'f', b'L', b'a', b'C', ..] => flac(file),
        [b'O', b'g', b'g', b'S', ..] => whole.then(|| ogg(file)).flatten(),
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => mp4(file),
        _ => mp3(file, whole),
    };
    let seconds = seconds.filter(|seconds| (0.0..LONGEST).contains(seconds))?;
    Some((seconds * 1000.0).round() as u64)
}

fn little(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn big(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The chunk `fmt ` has the bytes per second, and the chunk `data` has their number.
fn wav(file: &[u8], whole: bool) -> Option<f64> {
    let (mut rate, mut at) = (0, 12);
    loop {
        let head = file.get(at..at + 8)?;
        let (name, length) = (&head[..4], little(&head[4..]) as usize);
        let rest = &file[at + 8..];
        match name {
            b"fmt " => rate = little(rest.get(8..12)?),
            // A streamed WAV has no known length: the header has the largest number, or 0.
            b"data" => {
                let is_known = length > 0 && length < 0xFFFF_FF00;
                let bytes = match (is_known, whole) {
                    (true, true) => length.min(rest.len()),
                    (true, false) => length,
                    (false, true) => rest.len(),
                    (false, false) => return None,
                };
                return (rate > 0).then(|| bytes as f64 / f64::from(rate));
            }
            _ => {}
        }
        at = at.checked_add(8)?.checked_add(length)?.checked_add(length % 2)?;
    }
}

/// STREAMINFO is the first block. It has 20 bits for the sample rate and 36 for the number of samples (RFC
/// 9639, 8.2).
fn flac(file: &[u8]) -> Option<f64> {
    let rate = big(file.get(18..21)?) >> 4;
    let samples = big(file.get(21..26)?) & 0xF_FFFF_FFFF;
    (rate > 0 && samples > 0).then(|| samples as f64 / rate as f64)
}

/// The last page has the number of samples. For Opus they count at 48,000 per second (RFC 7845, 4).
fn ogg(file: &[u8]) -> Option<f64> {
    let page = memchr::memmem::rfind(file, b"OggS")?;
    let samples = file
        .get(page + 6..page + 14)?
        .iter()
        .rev()
        .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let beginning = &file[..file.len().min(512)];
    let rate = match memchr::memmem::find(beginning, b"\x01vorbis") {
        Some(at) => little(file.get(at + 12..at + 16)?),
        None => memchr::memmem::find(beginning, b"OpusHead").map(|_| 48_000)?,
    };
    (rate > 0 && samples != u64::MAX).then(|| samples as f64 / f64::from(rate))
}

/// The box `mvhd` has a time scale and a duration (ISO 14496-12, 8.2.2).
fn mp4(file: &[u8]) -> Option<f64> {
    let at = memchr::memmem::find(file, b"mvhd")? + 4;
    let (scale, length) = match file.get(at)? {
        1 => (big(file.get(at + 20..at + 24)?), big(file.get(at + 24..at + 32)?)),
        _ => (big(file.get(at + 12..at + 16)?), big(file.get(at + 16..at + 20)?)),
    };
    (scale > 0).then(|| length as f64 / scale as f64)
}

/// The first frame has the bit rate, or a table with the number of frames.
fn mp3(file: &[u8], whole: bool) -> Option<f64> {
    // A tag with titles and a picture may precede it. Its length has 7 bits in each byte.
    let tag = match file.strip_prefix(b"ID3") {
        Some(tag) => {
            10 + tag.get(3..7)?.iter().fold(0, |number, byte| number << 7 | usize::from(byte & 0x7F))
        }
        None => 0,
    };
    let frame = file.get(tag..)?;
    let [0xFF, second, third, fourth, ..] = *frame else { return None };
    if second & 0xE0 != 0xE0 || second & 0x06 != 0x02 {
        return None;
    }
    let (version, is_mono) = (second >> 3 & 3, fourth >> 6 == 3);
    let (rates, divisor, samples, side) = match version {
        3 => (MPEG1, 1, 1152, if is_mono { 17 } else { 32 }),
        2 => (MPEG2, 2, 576, if is_mono { 9 } else { 17 }),
        0 => (MPEG2, 4, 576, if is_mono { 9 } else { 17 }),
        _ => return None,
    };
    let rate = RATES[usize::from(third >> 2 & 3)] / divisor;
    let kilobits = rates[usize::from(third >> 4)];
    if rate == 0 || kilobits == 0 {
        return None;
    }
    let table = frame.get(4 + side..4 + side + 12).unwrap_or_default();
    if (table.starts_with(b"Xing") || table.starts_with(b"Info")) && table[7] & 1 == 1 {
        return Some(big(&table[8..12]) as f64 * f64::from(samples) / f64::from(rate));
    }
    whole.then(|| frame.len() as f64 / f64::from(kilobits * 125))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wav_of(rate: u32, length: u32, bytes: usize) -> Vec<u8> {
        let mut wav = b"RIFF....WAVEfmt \x10\0\0\0\x01\0\x01\0\xc0\x5d\0\0".to_vec();
        wav.extend(rate.to_le_bytes());
        wav.extend(b"\x02\0\x10\0LIST\x03\0\0\0abc\0data");
        wav.extend(length.to_le_bytes());
        wav.resize(wav.len() + bytes, 0);
        wav
    }

    #[test]
    fn durations_are_read_from_headers() {
        let mut flac = b"fLaC\0\0\0\x22\x10\0\x10\0\0\0\0\0\0\0".to_vec();
        // 44,100 in 20 bits, two channels of 16 bits, 441,000 samples.
        flac.extend([0x0A, 0xC4, 0x42, 0xF0, 0x00, 0x06, 0xBA, 0xA8]);
        let mut ogg = b"OggS\0\x02\0\0\0\0\0\0\0\0....OpusHead".to_vec();
        ogg.extend(b"OggS\0\x04");
        ogg.extend(96_000_u64.to_le_bytes());
        let mut mp4 = b"\0\0\0\x18ftypM4A ....mvhd\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
        mp4.extend(600_u32.to_be_bytes());
        mp4.extend(1500_u32.to_be_bytes());
        // 128 kbit/s at 44,100, after a tag of 10 bytes.
        let mut mp3 = b"ID3\x04\0\0\0\0\0\x0a0123456789\xFF\xFB\x90\x44".to_vec();
        mp3.resize(20 + 16_000, 0);
        let mut with_table = b"\xFF\xFB\x90\x44".to_vec();
        with_table.resize(36, 0);
        with_table.extend(b"Xing\0\0\0\x01\0\0\x01\0");
        for (name, file, whole, expected) in [
            ("wav", wav_of(48_000, 96_000, 96_000), true, Some(2000)),
            ("a long wav's beginning", wav_of(48_000, 4_800_000, 10), false, Some(100_000)),
            ("a wav that is shorter than it says", wav_of(48_000, 4_800_000, 48_000), true, Some(1000)),
            ("a streamed wav", wav_of(48_000, u32::MAX, 24_000), true, Some(500)),
            ("a streamed wav's beginning", wav_of(48_000, u32::MAX, 24_000), false, None),
            ("flac", flac, false, Some(10_000)),
            ("ogg", ogg.clone(), true, Some(2000)),
            ("ogg's beginning", ogg, false, None),
            ("mp4", mp4, false, Some(2500)),
            ("mp3", mp3, true, Some(1000)),
            ("mp3 with a table", with_table, false, Some(6687)),
            ("text", b"nothing of the kind".to_vec(), true, None),
            ("nothing", Vec::new(), true, None),
        ] {
            assert_eq!(milliseconds(&file, whole), expected, "{name}");
            for cut in 0..file.len().min(64) {
                milliseconds(&file[..cut], whole);
            }
        }
    }
}
