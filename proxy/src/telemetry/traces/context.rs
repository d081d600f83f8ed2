//! W3C Trace Context (Recommendation, level 1): what `traceparent` and `tracestate` may look like. Both come from outside,
//! so nothing but their form is believed here; what does not fit is as if it were not there.

/// Length of `traceparent` in the only version that there is.
const LENGTH: usize = 55;
/// Longest `tracestate` that is passed on, in bytes (section 3.3.1.5 asks for at least this much).
const LONGEST_STATE: usize = 512;
/// Most members of a `tracestate` (section 3.3.1.1).
const MOST_MEMBERS: usize = 32;
/// The flag by which a caller says that it records.
const SAMPLED: u8 = 1;

/// What `traceparent` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceParent {
    /// The trace; never all zero.
    pub trace: [u8; 16],
    /// The caller's span; never all zero.
    pub span: [u8; 8],
    /// Whether the caller records.
    pub sampled: bool,
}

impl TraceParent {
    /// Reads the field. A version to come may say more at the end, and is read as far as it is known (section 4.2.1).
    #[must_use]
    pub fn parse(field: &[u8]) -> Option<Self> {
        let (known, more) = field.split_at_checked(LENGTH)?;
        let version = bytes::<1>(&known[..2])?[0];
        let fits = match version {
            0 => more.is_empty(),
            0xff => false,
            _ => more.is_empty() || more[0] == b'-',
        };
        if !fits || [2, 35, 52].iter().any(|at| known[*at] != b'-') {
            return None;
        }
        let (trace, span) = (bytes::<16>(&known[3..35])?, bytes::<8>(&known[36..52])?);
        let flags = bytes::<1>(&known[53..])?[0];
        (trace != [0; 16] && span != [0; 8]).then_some(Self { trace, span, sampled: flags & SAMPLED != 0 })
    }

    /// Writes the field.
    #[must_use]
    pub fn write(&self) -> [u8; LENGTH] {
        let mut field = *b"00-00000000000000000000000000000000-0000000000000000-00";
        hexadecimal(&self.trace, &mut field[3..35]);
        hexadecimal(&self.span, &mut field[36..52]);
        field[54] = b'0' + u8::from(self.sampled);
        field
    }
}

/// Writes two lower-case digits for each byte.
pub fn hexadecimal(bytes: &[u8], digits: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(digits.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

/// Lower-case hexadecimal digits as bytes; capital ones are not allowed here.
fn bytes<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// Whether the values of all `tracestate` fields together may be passed on.
pub fn state_fits<'a>(fields: impl Iterator<Item = &'a [u8]>) -> bool {
    let (mut length, mut members) = (0, 0);
    for field in fields {
        length += field.len() + 1;
        if length > LONGEST_STATE + 1 {
            return false;
        }
        for member in
            field.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
        {
            members += 1;
            if members > MOST_MEMBERS || !is_member(member) {
                return false;
            }
        }
    }
    members > 0
}

fn is_member(member: &[u8]) -> bool {
    let Some(at) = member.iter().position(|byte| *byte == b'=') else { return false };
    let (key, value) = (&member[..at], &member[at + 1..]);
    let in_key = |byte: &u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'*' | b'/' | b'@')
    };
    let begins = key.first().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let parts = key.split(|byte| *byte == b'@').count();
    let in_value = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b',' && *byte != b'=';
    begins
        && parts <= 2
        && key.len() <= 256
        && key.iter().all(in_key)
        && (1..=256).contains(&value.len())
        && value.iter().all(in_value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_fits_is_read_and_written_again() {
        let parent = TraceParent::parse(GOOD.as_bytes()).unwrap();
        assert!(parent.sampled);
        assert_eq!(parent.write(), GOOD.as_bytes());
        let unsampled = TraceParent::parse(GOOD.replace("-01", "-00").as_bytes()).unwrap();
        assert_eq!(unsampled.write(), GOOD.replace("-01", "-00").as_bytes());
        let later = GOOD.replace("00-0af", "01-0af") + "-what-a-later-version-says";
        assert_eq!(TraceParent::parse(later.as_bytes()), Some(parent));
    }

    #[test]
    fn what_does_not_fit_is_not_there() {
        for bad in [
            "",
            "00",
            &GOOD.to_uppercase(),
            &GOOD.replace("00-0af", "ff-0af"),
            &GOOD.replace("0af7651916cd43dd8448eb211c80319c", "00000000000000000000000000000000"),
            &GOOD.replace("b7ad6b7169203331", "0000000000000000"),
            &GOOD.replace("-01", "-0"),
            &GOOD.replace("-01", "-01-more"),
            &GOOD.replace("-01", "-0g"),
            &GOOD.replace("9c-b7", "9c_b7"),
            &format!(" {GOOD}"),
        ] {
            assert_eq!(TraceParent::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_state_is_passed_on_only_if_it_is_one() {
        let fits = |fields: &[&str]| state_fits(fields.iter().map(|field| field.as_bytes()));
        assert!(
            fits(&["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"])
                && fits(&["a=1", "b=2"])
                && fits(&["a=1 ,, b= 2"])
        );
        assert!(fits(&["fw529a3039@dt=FfAAA"]));
        for bad in ["", ",", "a", "=1", "A=1", "a=", "a=b=c", "a\u{e9}=1", "a=\u{7f}", "a@b@c=1", "a b=1"] {
            assert!(!fits(&[bad]), "{bad}");
        }
        assert!(!fits(&[&vec!["a=1"; 33].join(",")]) && fits(&[&vec!["a=1"; 32].join(",")]));
        assert!(!fits(&[&format!("a={}", "1".repeat(511)), "b=1"]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(field in prop::collection::vec(any::<u8>(), 0..120)) {
            if let Some(parent) = TraceParent::parse(&field) {
                prop_assert_eq!(TraceParent::parse(&parent.write()), Some(parent));
            }
            let _ = state_fits([field.as_slice()].into_iter());
        }
    }
}
