//! The frames of a connection of HTTP/2 (RFC 9113, section 4.1), as far as the HTTP/2 layer lets a client do what it likes:
//! begin a head and never end it, or send frames that ask for nothing (THREATS S11, T9). Bounded: it holds nine bytes.

use std::time::{Duration, Instant};

/// Bytes in front of each frame.
const HEADER: usize = 9;
/// How many frames of a connection may be about nothing but itself within [`WINDOW`]. Browsers send a dozen, then a PING every
/// half a minute.
const CONTROL_FRAMES: u32 = 1000;
const WINDOW: Duration = Duration::from_secs(10);

/// The last frame of a head (flag of HEADERS and CONTINUATION).
const END_HEADERS: u8 = 0x4;

/// Where in the frames of a connection we are.
#[derive(Debug)]
pub struct Frames {
    header: [u8; HEADER],
    /// How much of the frame's header is here.
    count: usize,
    /// How much of its payload is not.
    left: usize,
    /// Whether a head has begun, and not ended.
    within_head: bool,
    /// Control frames since then.
    control: (u32, Instant),
}

/// What has come ends here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Between frames, or within one of a body.
    Between,
    /// Within a head, or within what stands in front of a frame; perhaps in one that began in these bytes.
    WithinHead {
        /// Whether it did.
        begins: bool,
    },
    /// Too many frames that ask for nothing.
    Flood,
}

impl Frames {
    /// Before the first frame.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { header: [0; HEADER], count: 0, left: 0, within_head: false, control: (0, now) }
    }

    /// Follows `bytes` and says where they end. `now` is asked only where a frame is counted.
    pub fn see(&mut self, mut bytes: &[u8], now: impl Fn() -> Instant) -> Standing {
        let mut begins = self.is_between();
        while !bytes.is_empty() {
            if self.count < HEADER {
                let length = bytes.len().min(HEADER - self.count);
                self.header[self.count..self.count + length].copy_from_slice(&bytes[..length]);
                self.count += length;
                bytes = &bytes[length..];
                if self.count == HEADER && !self.begin(&now) {
                    return Standing::Flood;
                }
            } else {
                let length = bytes.len().min(self.left);
                self.left -= length;
                bytes = &bytes[length..];
            }
            if self.count == HEADER && self.left == 0 {
                self.end();
                begins |= self.is_between();
            }
        }
        let within = self.within_head || (1..HEADER).contains(&self.count);
        if within { Standing::WithinHead { begins } } else { Standing::Between }
    }

    const fn is_between(&self) -> bool {
        self.count == 0 && !self.within_head
    }

    /// The header of a frame is here. `false` when it is one too many.
    fn begin(&mut self, now: impl Fn() -> Instant) -> bool {
        let [high, middle, low, kind, ..] = self.header;
        self.left = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        match kind {
            // HEADERS.
            0x1 => self.within_head = true,
            // PRIORITY, SETTINGS, PING, and what is not known.
            0x2 | 0x4 | 0x6 | 0xa.. => return self.is_within_budget(now()),
            _ => {}
        }
        true
    }

    fn end(&mut self) {
        self.count = 0;
        let [_, _, _, kind, flags, ..] = self.header;
        // HEADERS and CONTINUATION.
        if matches!(kind, 0x1 | 0x9) && flags & END_HEADERS != 0 {
            self.within_head = false;
        }
    }

    fn is_within_budget(&mut self, now: Instant) -> bool {
        let (count, since) = self.control;
        self.control = if now.duration_since(since) > WINDOW { (1, now) } else { (count + 1, since) };
        self.control.0 <= CONTROL_FRAMES
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    struct Scene(Frames, Instant);

    impl Scene {
        fn see(&mut self, bytes: &[u8]) -> Standing {
            self.0.see(bytes, || self.1)
        }
    }

    fn frames() -> Scene {
        let now = Instant::now();
        Scene(Frames::new(now), now)
    }

    #[test]
    fn a_head_lasts_from_its_first_byte_to_the_end_of_its_last_frame() {
        let head = [frame(0x1, 0, b"abc"), frame(0x9, 0, b""), frame(0x9, END_HEADERS, b"de")].concat();
        for end in 0..=head.len() {
            let is_between = end == 0 || end == head.len();
            let expected = if is_between { Standing::Between } else { Standing::WithinHead { begins: true } };
            let mut frames = frames();
            assert_eq!(frames.see(&head[..end]), expected, "{end}");
            if end > 0 && end + 1 < head.len() {
                assert_eq!(frames.see(&head[end..=end]), Standing::WithinHead { begins: false }, "{end}");
            }
        }
        let two = [&head[..], &head[..12]].concat();
        let mut frames = frames();
        frames.see(&two[..5]);
        assert_eq!(frames.see(&two[5..]), Standing::WithinHead { begins: true }, "the second one");
    }

    #[test]
    fn a_body_may_stop_anywhere_behind_the_header_of_its_frame() {
        let body = frame(0x0, 0x1, b"abc");
        for end in HEADER..body.len() {
            assert_eq!(frames().see(&body[..end]), Standing::Between, "{end}");
        }
    }

    #[test]
    fn frames_that_ask_for_nothing_have_a_budget() {
        for kind in [0x2, 0x4, 0x6, 0x10] {
            let mut frames = frames();
            for _ in 0..CONTROL_FRAMES {
                assert_eq!(frames.see(&frame(kind, 0, &[0; 8])), Standing::Between);
            }
            assert_eq!(frames.see(&frame(kind, 0, &[0; 8])), Standing::Flood, "{kind}");
            frames.1 += WINDOW * 2;
            assert_eq!(frames.see(&frame(kind, 0, &[0; 8])), Standing::Between, "later");
        }
        let mut frames = frames();
        for _ in 0..10 * CONTROL_FRAMES {
            assert_eq!(
                frames.see(&frame(0x8, 0, &[0; 4])),
                Standing::Between,
                "WINDOW_UPDATE goes with answers"
            );
        }
    }

    proptest! {
        #[test]
        fn it_does_not_matter_in_which_pieces_they_come(
            kinds in prop::collection::vec((0..12_u8, any::<u8>(), 0..40_usize), 0..12),
            size in 1..30_usize,
        ) {
            let bytes: Vec<u8> = kinds.iter().flat_map(|&(kind, flags, length)| frame(kind, flags, &vec![1; length])).collect();
            let mut pieces = frames();
            let mut last = Standing::Between;
            for piece in bytes.chunks(size) {
                last = pieces.see(piece);
            }
            let is_within = |standing| matches!(standing, Standing::WithinHead { .. });
            prop_assert_eq!(is_within(frames().see(&bytes)), is_within(last));
        }
    }
}
