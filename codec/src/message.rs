//! One whole input: a frame, or a message.

/// A frame, proven, or a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'m> {
    /// Frames have none.
    pub(crate) topic: Option<&'m str>,
    pub(crate) bytes: &'m [u8],
    pub(crate) retained: bool,
}
