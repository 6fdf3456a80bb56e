//! The messages of RFC 5769 section 2 and of RFC 8489 appendix B.1, as hexadecimal text.

/// The password of the first three.
pub(crate) const PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";
/// The user of the last two, six katakana.
pub(crate) const USER: &str = "\u{30DE}\u{30C8}\u{30EA}\u{30C3}\u{30AF}\u{30B9}";
/// The password of the last two, after preparation.
pub(crate) const USER_PASSWORD: &str = "TheMatrIX";
/// The realm of the last two.
pub(crate) const REALM: &str = "example.org";

/// RFC 5769 section 2.1.
pub(crate) const REQUEST: &str = "\
    000100582112a442b7e7a701bc34d686fa87dfae802200105354554e2074657374206\
    36c69656e74002400046e0001ff80290008932ff9b151263b36000600096576746a3a\
    6836765920202000080014 9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2802800\
    04e57a3bcf";

/// RFC 5769 section 2.2.
pub(crate) const IPV4_RESPONSE: &str = "\
    0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7\
    220002000080001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f0\
    6be7d780280004c07d4c96";

/// RFC 5769 section 2.3.
pub(crate) const IPV6_RESPONSE: &str = "\
    010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7\
    220002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4b\
    e67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c";

/// RFC 5769 section 2.4.
pub(crate) const LONG_TERM_REQUEST: &str = "\
    000100602112a44278ad3433c6ad72c029da412e00060012e3839ee38388e383aae38\
    383e382afe382b900000015001c662f2f3439396b39353464364f4c33346f4c394653\
    5476793634734100140 00b6578616d706c652e6f72670000080014f67024656dd64a\
    3e02b8e0712e85c9a28ca89666";

/// RFC 8489 appendix B.1.
pub(crate) const SHA256_REQUEST: &str = "\
    000100902112a44278ad3433c6ad72c029da412e001e00204a3cf38fef6992bda952c\
    6780417da0f24819415569e60b205c46e41407f170400150029 6f624d61744a6f733\
    2414141 43662f2f3439396b39353464364f4c33346f4c39465354767936347341000\
    0000014000b6578616d706c652e6f726700001d000400020000001c0020b5c7bf005b\
    6c52a21c51c5e892f81924136296cb927c43149309278cc6518e65";

/// Bytes of hexadecimal text.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|c| c.to_digit(16)).map(|digit| u8::try_from(digit).unwrap()).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// All of them.
pub(crate) fn all() -> Vec<Vec<u8>> {
    [REQUEST, IPV4_RESPONSE, IPV6_RESPONSE, LONG_TERM_REQUEST, SHA256_REQUEST].map(hex).to_vec()
}
