//! What `${…}` in a text says: the grammar of Flux's envsubst, read once and then expanded.
//!
//! The grammar is the one of github.com/fluxcd/pkg/envsubst v1.8, so that files of a team that comes from
//! Flux keep their meaning. `tests/golden/substitute` holds both against each other.

use std::iter::Peekable;
use std::str::CharIndices;

/// How deep a `${…}` may stand in the default of another.
const MAX_DEPTH: usize = 32;

/// Why a text cannot be read. It quotes nothing of the text, which may hold a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    /// `${` without a name.
    #[error(
        "${{ is not followed by the name of a variable; write $${{ for a literal ${{, or annotate the object with \
         towline.dev/substitute: disabled if it holds a script"
    )]
    Name,
    /// `${name` without `}`.
    #[error(
        "${{ has no closing brace, or uses an operator that is not known; write $${{ for a literal ${{, or annotate the object \
         with towline.dev/substitute: disabled if it holds a script"
    )]
    Brace,
    /// An operator without what it needs: `${name/}`.
    #[error("an operator in ${{…}} lacks its argument")]
    Argument,
    /// `${a:=${b:=${…`.
    #[error("${{…}} is nested too deeply")]
    TooDeep,
}

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// As it stands, escapes resolved.
    Text(String),
    /// `${name…}`.
    Variable(Variable),
}

/// A variable and what to do with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) operator: Operator,
}

/// What becomes of a variable's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    /// `${a}`.
    Plain,
    /// `${#a}`.
    Length,
    /// `${a=b}`, `${a:=b}`, `${a:-b}`, and `:?` and `:+`, which Flux takes to mean the same.
    Default(Vec<Part>),
    /// `${a,}`.
    LowerFirst,
    /// `${a,,}`.
    Lower,
    /// `${a^}`.
    UpperFirst,
    /// `${a^^}`.
    Upper,
    /// `${a,^}` and `${a^,}`, which Flux takes and which change nothing.
    Unchanged,
    /// `${a:from}` and `${a:from:length}`.
    Substring(Box<Part>, Option<Box<Part>>),
    /// `${a#pattern}`, `${a##pattern}`, `${a%pattern}`, `${a%%pattern}`.
    Trim {
        /// From the end, not from the beginning.
        end: bool,
        /// As much as matches, not as little.
        longest: bool,
        pattern: Box<Part>,
    },
    /// `${a/from/to}`, `${a//from/to}`, `${a/#from/to}`, `${a/%from/to}`.
    Replace {
        which: Which,
        from: Box<Part>,
        to: Option<Box<Part>>,
    },
}

/// Which occurrences are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    First,
    All,
    Prefix,
    Suffix,
}

/// Reads a text.
pub(super) fn parse(text: &str) -> Result<Vec<Part>, SyntaxError> {
    let mut reader = Reader {
        text,
        chars: text.char_indices().peekable(),
        depth: 0,
    };
    let mut parts = Vec::new();
    while let Some(part) = reader.part(&Until::End)? {
        parts.push(part);
    }
    Ok(parts)
}

/// Where a piece of text ends, besides at the next `${`.
enum Until {
    End,
    Brace,
    ColonOrBrace,
    /// Escapes count.
    EscapedSlash,
    /// Escapes count.
    EscapedBrace,
}

impl Until {
    fn ends_at(&self, character: char) -> bool {
        match self {
            Self::End => false,
            Self::Brace | Self::EscapedBrace => character == '}',
            Self::ColonOrBrace => matches!(character, ':' | '}'),
            Self::EscapedSlash => character == '/',
        }
    }

    /// Whether the first of two characters makes the second one ordinary.
    fn escapes(&self, first: char, second: char) -> bool {
        match (first, second) {
            ('$', '$') => matches!(self, Self::End | Self::EscapedSlash | Self::EscapedBrace),
            ('\\', '/' | '\\') => matches!(self, Self::EscapedSlash | Self::EscapedBrace),
            _ => false,
        }
    }
}

struct Reader<'t> {
    text: &'t str,
    chars: Peekable<CharIndices<'t>>,
    depth: usize,
}

impl Reader<'_> {
    fn peek(&mut self) -> Option<char> {
        self.chars.peek().map(|(_, character)| *character)
    }

    /// The character after the next one.
    fn second(&mut self) -> Option<char> {
        let (at, first) = *self.chars.peek()?;
        self.text[at + first.len_utf8()..].chars().next()
    }

    fn next_if(&mut self, wanted: impl Fn(char) -> bool) -> Option<char> {
        let next = self.chars.next_if(|(_, character)| wanted(*character))?;
        Some(next.1)
    }

    /// A piece of text or a variable; none at the end.
    fn part(&mut self, until: &Until) -> Result<Option<Part>, SyntaxError> {
        if self.peek() == Some('$') && self.second() == Some('{') {
            self.chars.next();
            self.chars.next();
            return self
                .variable()
                .map(|variable| Some(Part::Variable(variable)));
        }
        let mut text = String::new();
        while let Some(character) = self.peek() {
            let second = self.second();
            if character == '$' && second == Some('{') {
                break;
            }
            if second.is_some_and(|second| until.escapes(character, second)) {
                self.chars.next();
            } else if until.ends_at(character) {
                break;
            }
            text.extend(self.chars.next().map(|(_, character)| character));
        }
        Ok((!text.is_empty()).then_some(Part::Text(text)))
    }

    /// An argument that must not be empty.
    fn argument(&mut self, until: &Until) -> Result<Box<Part>, SyntaxError> {
        self.part(until)?.map(Box::new).ok_or(SyntaxError::Argument)
    }

    fn brace(&mut self) -> Result<(), SyntaxError> {
        let closed = self.next_if(|character| character == '}');
        closed.map(drop).ok_or(SyntaxError::Brace)
    }

    fn name(&mut self) -> Result<String, SyntaxError> {
        let mut name = String::new();
        while let Some(character) =
            self.next_if(|character| character.is_alphanumeric() || character == '_')
        {
            name.push(character);
        }
        match name.is_empty() {
            true => Err(SyntaxError::Name),
            false => Ok(name),
        }
    }

    /// What follows `${`, with its closing brace.
    fn variable(&mut self) -> Result<Variable, SyntaxError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(SyntaxError::TooDeep);
        }
        let variable = match self.next_if(|character| character == '#') {
            Some(_) => Variable {
                name: self.name()?,
                operator: Operator::Length,
            },
            None => Variable {
                name: self.name()?,
                operator: self.operator()?,
            },
        };
        self.brace()?;
        self.depth -= 1;
        Ok(variable)
    }

    fn operator(&mut self) -> Result<Operator, SyntaxError> {
        match self.peek() {
            Some(':') if matches!(self.second(), Some('=' | '-' | '?' | '+')) => {
                self.chars.next();
                self.default()
            }
            Some('=') => self.default(),
            Some(':') => self.substring(),
            Some(',' | '^') => Ok(self.casing()),
            Some('#') => self.trim('#'),
            Some('%') => self.trim('%'),
            Some('/') => self.replace(),
            Some('}') => Ok(Operator::Plain),
            _ => Err(SyntaxError::Brace),
        }
    }

    fn default(&mut self) -> Result<Operator, SyntaxError> {
        self.chars.next();
        let mut parts = Vec::new();
        while let Some(part) = self.part(&Until::Brace)? {
            parts.push(part);
        }
        Ok(Operator::Default(parts))
    }

    fn substring(&mut self) -> Result<Operator, SyntaxError> {
        self.chars.next();
        let from = self.argument(&Until::ColonOrBrace)?;
        let mut colons = 0;
        while self.next_if(|character| character == ':').is_some() {
            colons += 1;
        }
        let length = match colons {
            0 => None,
            _ => Some(self.argument(&Until::Brace)?),
        };
        Ok(Operator::Substring(from, length))
    }

    fn casing(&mut self) -> Operator {
        let is_casing = |character| matches!(character, ',' | '^');
        let first = self.next_if(is_casing);
        match (first, self.next_if(is_casing)) {
            (Some(','), None) => Operator::LowerFirst,
            (Some(','), Some(',')) => Operator::Lower,
            (Some('^'), None) => Operator::UpperFirst,
            (Some('^'), Some('^')) => Operator::Upper,
            _ => Operator::Unchanged,
        }
    }

    fn trim(&mut self, sign: char) -> Result<Operator, SyntaxError> {
        self.chars.next();
        let longest = self.next_if(|character| character == sign).is_some();
        Ok(Operator::Trim {
            end: sign == '%',
            longest,
            pattern: self.argument(&Until::Brace)?,
        })
    }

    fn replace(&mut self) -> Result<Operator, SyntaxError> {
        self.chars.next();
        let which = match self.next_if(|character| matches!(character, '/' | '#' | '%')) {
            Some('/') => Which::All,
            Some('#') => Which::Prefix,
            Some(_) => Which::Suffix,
            None => Which::First,
        };
        let from = self.argument(&Until::EscapedSlash)?;
        let mut slashes = 0;
        while self.next_if(|character| character == '/').is_some() {
            slashes += 1;
        }
        if slashes == 0 {
            return Err(SyntaxError::Argument);
        }
        let to = match self.peek() {
            Some('}') => None,
            _ => Some(self.argument(&Until::EscapedBrace)?),
        };
        Ok(Operator::Replace { which, from, to })
    }
}
