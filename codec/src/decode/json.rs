//! JSON (RFC 8259) into a tree that keeps the order of keys and the text of numbers.
//!
//! A parser of our own: `serde_json` gives numbers as doubles and sorts keys, unless features are switched
//! on that would change it for every other user in the house.

use std::borrow::Cow;

use super::{bad, too_many};
use crate::output::DeadLetterReason;
use crate::tree::{BadPart, DEPTH_MAX, NODES_MAX, Node};

/// The tree of a JSON text.
pub(super) fn decode(text: &str) -> Result<Node<'_>, BadPart> {
    let mut parser = Parser { text, at: 0, nodes: 0 };
    let node = parser.value(0)?;
    parser.blanks();
    if parser.at < text.len() { Err(parser.syntax("the end")) } else { Ok(node) }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    nodes: usize,
}

impl<'a> Parser<'a> {
    fn value(&mut self, depth: usize) -> Result<Node<'a>, BadPart> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(too_many());
        }
        if depth > DEPTH_MAX {
            return Err(bad(DeadLetterReason::TooComplex, format!("nests more than {DEPTH_MAX} levels")));
        }
        self.blanks();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => self.string().map(Node::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Node::Flag(true)),
            Some(b'f') => self.word("false", Node::Flag(false)),
            Some(b'n') => self.word("null", Node::Null),
            _ => Err(self.syntax("a value")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Node<'a>, BadPart> {
        self.at += 1;
        let mut entries = Vec::new();
        if self.eats(b'}') {
            return Ok(Node::Object(entries));
        }
        loop {
            self.blanks();
            if self.peek() != Some(b'"') {
                return Err(self.syntax("a key between quotes"));
            }
            let key = self.string()?;
            if !self.eats(b':') {
                return Err(self.syntax("`:`"));
            }
            entries.push((key, self.value(depth + 1)?));
            if self.eats(b'}') {
                return Ok(Node::Object(entries));
            }
            if !self.eats(b',') {
                return Err(self.syntax("`,` or `}`"));
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Node<'a>, BadPart> {
        self.at += 1;
        let mut nodes = Vec::new();
        if self.eats(b']') {
            return Ok(Node::List(nodes));
        }
        loop {
            nodes.push(self.value(depth + 1)?);
            if self.eats(b']') {
                return Ok(Node::List(nodes));
            }
            if !self.eats(b',') {
                return Err(self.syntax("`,` or `]`"));
            }
        }
    }

    fn number(&mut self) -> Result<Node<'a>, BadPart> {
        let start = self.at;
        self.takes(b'-');
        if !self.takes(b'0') && self.digits() == 0 {
            return Err(self.syntax("a digit"));
        }
        if self.takes(b'.') && self.digits() == 0 {
            return Err(self.syntax("a digit"));
        }
        if self.takes(b'e') || self.takes(b'E') {
            let _ = self.takes(b'+') || self.takes(b'-');
            if self.digits() == 0 {
                return Err(self.syntax("a digit"));
            }
        }
        Ok(Node::Number(Cow::Borrowed(&self.text[start..self.at])))
    }

    fn string(&mut self) -> Result<Cow<'a, str>, BadPart> {
        self.at += 1;
        let start = self.at;
        let mut owned = String::new();
        let mut from = start;
        loop {
            match self.peek() {
                Some(b'"') => {
                    let last = &self.text[from..self.at];
                    self.at += 1;
                    return Ok(if from == start { Cow::Borrowed(last) } else { Cow::Owned(owned + last) });
                }
                Some(b'\\') => {
                    owned.push_str(&self.text[from..self.at]);
                    self.at += 1;
                    owned.push(self.escape()?);
                    from = self.at;
                }
                Some(0..=0x1F) => return Err(self.syntax("no control character in a text")),
                Some(_) => self.at += 1,
                None => return Err(self.syntax("the end of a text")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, BadPart> {
        let escape = self.peek();
        self.at += usize::from(escape.is_some_and(|byte| byte.is_ascii()));
        Ok(match escape {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{C}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let first = self.hex()?;
                if !(0xD800..0xDC00).contains(&first) {
                    return char::from_u32(first).ok_or_else(|| self.syntax("a character"));
                }
                if !(self.takes(b'\\') && self.takes(b'u')) {
                    return Err(self.syntax("the second half of a character"));
                }
                let second = self.hex()?.checked_sub(0xDC00).filter(|half| *half < 0x400);
                let second = second.ok_or_else(|| self.syntax("the second half of a character"))?;
                let code = 0x1_0000 + ((first - 0xD800) << 10) + second;
                char::from_u32(code).ok_or_else(|| self.syntax("a character"))?
            }
            _ => return Err(self.syntax("an escape")),
        })
    }

    fn hex(&mut self) -> Result<u32, BadPart> {
        let digits = self.text.get(self.at..self.at + 4).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let code = code.ok_or_else(|| self.syntax("four hex digits"))?;
        self.at += 4;
        Ok(code)
    }

    fn word(&mut self, word: &str, node: Node<'a>) -> Result<Node<'a>, BadPart> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.syntax("a value"));
        }
        self.at += word.len();
        Ok(node)
    }

    fn digits(&mut self) -> usize {
        let rest = &self.text.as_bytes()[self.at..];
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        count
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn takes(&mut self, byte: u8) -> bool {
        let is = self.peek() == Some(byte);
        self.at += usize::from(is);
        is
    }

    fn eats(&mut self, byte: u8) -> bool {
        self.blanks();
        self.takes(byte)
    }

    fn blanks(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
    }

    fn syntax(&self, expected: &str) -> BadPart {
        bad(DeadLetterReason::Syntax, format!("JSON: expected {expected} at byte {}", self.at))
    }
}
