//! Claims -> text: the part of Go's `text/template` that the configuration of CI providers uses.
//!
//! A string with `{{` in it is a template; any other string is the name of a claim. Templates are parsed and typed
//! when the configuration is loaded, so that a request can only fail for what it lacks. The language:
//!
//! ```text
//! {{ .name }}                      a value; an error when it is missing
//! {{ index . "a.b/c" }}            a value with any name; empty when it is missing
//! {{ if X }} … {{ else if Y }} … {{ else }} … {{ end }}
//! eq A B…   ne A B   and A B…   or A B…   not A   ( … )   "text"   `text`   true   false
//! {{- …     and     … -}}          white space is trimmed on that side
//! ```
//!
//! Everything else (pipes, variables, range, with, printf, comments, numbers) is refused. Every value is text, as in
//! the language this follows, so comparing one with `true` or a number could never hold and is refused too.

use std::fmt;

/// The longest template, in bytes.
pub const MAX_TEMPLATE_BYTES: usize = 4096;

/// The deepest nesting of parentheses and of `if`.
const MAX_DEPTH: usize = 8;

/// Why a template is refused when it is loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// It is longer than [`MAX_TEMPLATE_BYTES`].
    #[error("it has {0} bytes; at most {MAX_TEMPLATE_BYTES} are accepted")]
    TooLong(usize),
    /// Parentheses or `if` are nested too deeply.
    #[error("it is nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// `{{` without `}}`.
    #[error("an action is not closed with `}}}}`")]
    UnclosedAction,
    /// `if` without `end`.
    #[error("an `if` has no `end`")]
    UnclosedIf,
    /// `else` or `end` without `if`, or a second `else`.
    #[error("`{0}` has no `if`")]
    Stray(&'static str),
    /// Something outside the subset.
    #[error(
        "`{found}` is not supported; use fields, `index`, `if`, `eq`, `ne`, `and`, `or`, `not` and literals"
    )]
    Unsupported {
        /// The text.
        found: String,
    },
    /// A function with the wrong number of arguments.
    #[error("`{function}` takes {wanted}")]
    Arguments {
        /// The function.
        function: &'static str,
        /// What it takes.
        wanted: &'static str,
    },
    /// Text compared or joined with a boolean.
    #[error("`{function}` mixes text with true or false; all values are text, write \"true\"")]
    MixedTypes {
        /// The function.
        function: &'static str,
    },
}

/// What a template asks of its data.
pub trait Data {
    /// The value of a name, already text.
    fn value(&self, name: &str) -> Value;
}

/// The answer of [`Data`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// There is such a value.
    Text(String),
    /// There is none.
    Missing,
    /// There is one, and it is an array or an object.
    NotScalar,
}

/// Why a template cannot be rendered from this data; each variant names the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RenderError {
    /// `.name` is missing.
    Missing(String),
    /// The value is an array or an object.
    NotScalar(String),
    /// The value is empty where a URI cannot do without.
    Empty(String),
}

/// What becomes of the value of an action on its way into the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Nothing: it is copied.
    Plain,
    /// It becomes part of a URI: [`escape_uri`], and never empty.
    Uri,
}

/// A template, parsed and typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Text(String),
    Output(Expr),
    If {
        arms: Vec<(Expr, Vec<Node>)>,
        otherwise: Vec<Node>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Expr {
    Field(String),
    Index(String),
    Literal(String),
    Bool(bool),
    Call(Function, Vec<Expr>),
}

impl Expr {
    /// The first value it uses, for messages.
    fn name(&self) -> &str {
        match self {
            Self::Field(name) | Self::Index(name) => name,
            Self::Call(_, arguments) => arguments.first().map_or("", Self::name),
            Self::Literal(_) | Self::Bool(_) => "",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Eq,
    Ne,
    And,
    Or,
    Not,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Text,
    Bool,
    /// What `and` and `or` of both give: good for `if`, and not for a comparison.
    Either,
}

/// The result of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Output {
    Text(String),
    Bool(bool),
}

impl Output {
    /// The language's idea of truth: text is true unless empty.
    fn is_true(&self) -> bool {
        match self {
            Self::Text(text) => !text.is_empty(),
            Self::Bool(value) => *value,
        }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Bool(value) => write!(f, "{value}"),
        }
    }
}

impl Template {
    /// Parses a template, or takes a string without `{{` for the name of a claim.
    ///
    /// # Errors
    /// [`TemplateError`], at load time, for anything outside the subset.
    pub fn parse(source: &str) -> Result<Self, TemplateError> {
        if source.len() > MAX_TEMPLATE_BYTES {
            return Err(TemplateError::TooLong(source.len()));
        }
        if !source.contains("{{") {
            return Ok(Self {
                nodes: vec![Node::Output(Expr::Field(source.to_owned()))],
            });
        }
        let mut pieces = split(source)?.into_iter();
        let (nodes, closed_by) = parse_nodes(&mut pieces, 0)?;
        match closed_by {
            None => Ok(Self { nodes }),
            Some(Closer::End) => Err(TemplateError::Stray("end")),
            Some(Closer::Else | Closer::ElseIf(_)) => Err(TemplateError::Stray("else")),
        }
    }

    /// Renders the template.
    ///
    /// # Errors
    /// [`RenderError`] when `.name` is missing, or a value that is used is not a scalar.
    pub fn render(&self, data: &impl Data) -> Result<String, RenderError> {
        let mut out = String::new();
        render_nodes(&self.nodes, data, Form::Plain, &mut out)?;
        Ok(out)
    }

    /// Renders the template as a URI: the value of every action is percent-encoded, `/` and the other characters of
    /// a path apart, so that no claim can begin a query or a fragment; and none may be empty, so that `…/{{ .a }}`
    /// never names the parent of what it should.
    ///
    /// # Errors
    /// As [`Self::render`], and [`RenderError::Empty`].
    pub fn render_uri(&self, data: &impl Data) -> Result<String, RenderError> {
        let mut out = String::new();
        render_nodes(&self.nodes, data, Form::Uri, &mut out)?;
        Ok(out)
    }

    /// The text every rendering begins with, given only values that no request can change: rendering stops at the
    /// first name that `fixed` does not know, and at the first `if`.
    pub fn fixed_prefix(&self, fixed: &impl Data) -> String {
        let mut out = String::new();
        for node in &self.nodes {
            match node {
                Node::Text(text) => out.push_str(text),
                Node::Output(expr) => match evaluate_fixed(expr, fixed) {
                    Some(text) => out.push_str(&text),
                    None => break,
                },
                Node::If { .. } => break,
            }
        }
        out
    }
}

/// The value of an expression that is a literal or a fixed, non-empty value.
fn evaluate_fixed(expr: &Expr, fixed: &impl Data) -> Option<String> {
    match expr {
        Expr::Literal(text) => Some(text.clone()),
        Expr::Field(name) | Expr::Index(name) => match fixed.value(name) {
            Value::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        },
        Expr::Bool(_) | Expr::Call(..) => None,
    }
}

fn render_nodes(
    nodes: &[Node],
    data: &impl Data,
    form: Form,
    out: &mut String,
) -> Result<(), RenderError> {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Output(expr) => {
                let value = evaluate(expr, data)?.to_string();
                match form {
                    Form::Plain => out.push_str(&value),
                    Form::Uri if value.is_empty() => {
                        return Err(RenderError::Empty(expr.name().to_owned()));
                    }
                    Form::Uri => escape_uri(&value, out),
                }
            }
            Node::If { arms, otherwise } => render_if(arms, otherwise, data, form, out)?,
        }
    }
    Ok(())
}

/// Appends a value with everything percent-encoded that RFC 3986 does not allow in a path as it is.
fn escape_uri(value: &str, out: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

fn render_if(
    arms: &[(Expr, Vec<Node>)],
    otherwise: &[Node],
    data: &impl Data,
    form: Form,
    out: &mut String,
) -> Result<(), RenderError> {
    for (condition, body) in arms {
        if evaluate(condition, data)?.is_true() {
            return render_nodes(body, data, form, out);
        }
    }
    render_nodes(otherwise, data, form, out)
}

fn evaluate(expr: &Expr, data: &impl Data) -> Result<Output, RenderError> {
    match expr {
        Expr::Literal(text) => Ok(Output::Text(text.clone())),
        Expr::Bool(value) => Ok(Output::Bool(*value)),
        Expr::Field(name) => match data.value(name) {
            Value::Text(text) => Ok(Output::Text(text)),
            Value::Missing => Err(RenderError::Missing(name.clone())),
            Value::NotScalar => Err(RenderError::NotScalar(name.clone())),
        },
        Expr::Index(name) => match data.value(name) {
            Value::Text(text) => Ok(Output::Text(text)),
            Value::Missing => Ok(Output::Text(String::new())),
            Value::NotScalar => Err(RenderError::NotScalar(name.clone())),
        },
        Expr::Call(function, arguments) => call(*function, arguments, data),
    }
}

fn call(function: Function, arguments: &[Expr], data: &impl Data) -> Result<Output, RenderError> {
    match function {
        Function::Not => Ok(Output::Bool(!first(arguments, data)?.is_true())),
        Function::Eq | Function::Ne => {
            let left = first(arguments, data)?;
            let mut equal = false;
            for right in arguments.iter().skip(1) {
                equal |= evaluate(right, data)? == left;
            }
            Ok(Output::Bool(equal == (function == Function::Eq)))
        }
        Function::And | Function::Or => {
            let mut last = Output::Bool(function == Function::And);
            for argument in arguments {
                last = evaluate(argument, data)?;
                if last.is_true() == (function == Function::Or) {
                    break;
                }
            }
            Ok(last)
        }
    }
}

/// The first argument; that there is one was checked when the template was parsed.
fn first(arguments: &[Expr], data: &impl Data) -> Result<Output, RenderError> {
    arguments
        .first()
        .map_or(Ok(Output::Bool(false)), |argument| evaluate(argument, data))
}

/// A template cut at its actions.
#[derive(Debug)]
enum Piece {
    Text(String),
    Action(Vec<Token>),
}

fn split(source: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = source;
    let mut trim_next = false;
    while let Some((text, after)) = rest.split_once("{{") {
        let (action, after) = cut_action(after)?;
        let (action, trim_before, trim_after) = trim_markers(action);
        let text = if trim_next { text.trim_start() } else { text };
        let text = if trim_before { text.trim_end() } else { text };
        pieces.push(Piece::Text(text.to_owned()));
        pieces.push(Piece::Action(tokenize(action)?));
        (rest, trim_next) = (after, trim_after);
    }
    let text = if trim_next { rest.trim_start() } else { rest };
    pieces.push(Piece::Text(text.to_owned()));
    pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
    Ok(pieces)
}

/// Cuts at the `}}` that is not inside a quoted string.
fn cut_action(source: &str) -> Result<(&str, &str), TemplateError> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in source.char_indices() {
        match quote {
            _ if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '`' => quote = Some(c),
            None => {
                let (action, rest) = source.split_at(at);
                if let Some(rest) = rest.strip_prefix("}}") {
                    return Ok((action, rest));
                }
            }
        }
    }
    Err(TemplateError::UnclosedAction)
}

/// Takes `- ` and ` -` off an action; a marker counts only with white space between it and the action.
fn trim_markers(action: &str) -> (&str, bool, bool) {
    let before = action
        .strip_prefix('-')
        .filter(|rest| rest.starts_with(char::is_whitespace));
    let action = before.unwrap_or(action);
    let after = action
        .strip_suffix('-')
        .filter(|rest| rest.ends_with(char::is_whitespace));
    (after.unwrap_or(action), before.is_some(), after.is_some())
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Field(String),
    Dot,
    Text(String),
    Open,
    Close,
}

fn tokenize(action: &str) -> Result<Vec<Token>, TemplateError> {
    let mut tokens = Vec::new();
    let mut rest = action.trim_start();
    while let Some(c) = rest.chars().next() {
        let (token, after) = match c {
            '(' => (Token::Open, rest.split_at(1).1),
            ')' => (Token::Close, rest.split_at(1).1),
            '"' | '`' => cut_text(rest)?,
            '.' => {
                let (name, after) = cut_word(rest.split_at(1).1);
                (
                    if name.is_empty() {
                        Token::Dot
                    } else {
                        Token::Field(name.to_owned())
                    },
                    after,
                )
            }
            c if is_word(c) && !c.is_ascii_digit() => {
                let (word, after) = cut_word(rest);
                (Token::Word(word.to_owned()), after)
            }
            _ => return Err(unsupported(rest)),
        };
        // Without this, `.a.b` would read as two fields and `.a"x"` as two operands.
        if !after.starts_with(|c: char| c.is_whitespace() || c == '(' || c == ')')
            && !after.is_empty()
            && token != Token::Open
        {
            return Err(unsupported(rest));
        }
        tokens.push(token);
        rest = after.trim_start();
    }
    Ok(tokens)
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric()
}

fn cut_word(source: &str) -> (&str, &str) {
    source.split_at(source.find(|c| !is_word(c)).unwrap_or(source.len()))
}

fn unsupported(found: &str) -> TemplateError {
    TemplateError::Unsupported {
        found: crate::error::echo(found.trim_end()),
    }
}

/// Cuts a quoted string. Raw strings end at the next backquote; in the others `\"` and `\\` are known, no other
/// escape.
fn cut_text(source: &str) -> Result<(Token, &str), TemplateError> {
    let mut chars = source.char_indices();
    let quote = chars.next().map_or('"', |(_, quote)| quote);
    let mut text = String::new();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Ok((Token::Text(text), source.split_at(at + 1).1));
        }
        if c == '\\' && quote == '"' {
            match chars.next() {
                Some((_, escaped @ ('"' | '\\'))) => text.push(escaped),
                _ => return Err(unsupported(source)),
            }
        } else {
            text.push(c);
        }
    }
    Err(unsupported(source))
}

/// What ended a list of nodes.
enum Closer {
    End,
    Else,
    ElseIf(Expr),
}

type Pieces = std::vec::IntoIter<Piece>;

fn parse_nodes(
    pieces: &mut Pieces,
    depth: usize,
) -> Result<(Vec<Node>, Option<Closer>), TemplateError> {
    if depth > MAX_DEPTH {
        return Err(TemplateError::TooDeep);
    }
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.next() {
        let action = match piece {
            Piece::Text(text) => {
                nodes.push(Node::Text(text));
                continue;
            }
            Piece::Action(action) => action,
        };
        let word = |at: usize| match action.get(at) {
            Some(Token::Word(word)) => word.as_str(),
            _ => "",
        };
        match (word(0), word(1), action.len()) {
            ("if", _, _) => {
                let condition = parse_expression(&action, 1)?;
                nodes.push(parse_if(condition, pieces, depth)?);
            }
            ("else", "if", _) => {
                return Ok((nodes, Some(Closer::ElseIf(parse_expression(&action, 2)?))));
            }
            ("else", _, 1) => return Ok((nodes, Some(Closer::Else))),
            ("end", _, 1) => return Ok((nodes, Some(Closer::End))),
            _ => nodes.push(Node::Output(parse_expression(&action, 0)?)),
        }
    }
    Ok((nodes, None))
}

fn parse_if(condition: Expr, pieces: &mut Pieces, depth: usize) -> Result<Node, TemplateError> {
    let mut arms = Vec::new();
    let mut condition = condition;
    loop {
        let (body, closer) = parse_nodes(pieces, depth + 1)?;
        arms.push((condition, body));
        match closer {
            Some(Closer::ElseIf(next)) => condition = next,
            Some(Closer::End) => {
                return Ok(Node::If {
                    arms,
                    otherwise: Vec::new(),
                });
            }
            Some(Closer::Else) => {
                let (otherwise, closer) = parse_nodes(pieces, depth + 1)?;
                return match closer {
                    Some(Closer::End) => Ok(Node::If { arms, otherwise }),
                    Some(Closer::Else | Closer::ElseIf(_)) => Err(TemplateError::Stray("else")),
                    None => Err(TemplateError::UnclosedIf),
                };
            }
            None => return Err(TemplateError::UnclosedIf),
        }
    }
}

/// Parses the tokens of an action from `skip` on; they must form one expression.
fn parse_expression(tokens: &[Token], skip: usize) -> Result<Expr, TemplateError> {
    let mut rest = tokens.get(skip..).unwrap_or_default();
    let expr = parse_call(&mut rest, 0)?;
    match rest {
        [] => Ok(expr),
        [Token::Word(word), ..] => Err(unsupported(word)),
        _ => Err(unsupported("more than one value")),
    }
}

fn take<'t>(tokens: &mut &'t [Token]) -> Option<&'t Token> {
    let (first, rest) = tokens.split_first()?;
    *tokens = rest;
    Some(first)
}

/// A function with its arguments, or a single operand.
fn parse_call(tokens: &mut &[Token], depth: usize) -> Result<Expr, TemplateError> {
    let Some(Token::Word(word)) = tokens.first() else {
        return parse_operand(tokens, depth);
    };
    let function = match word.as_str() {
        "eq" => Function::Eq,
        "ne" => Function::Ne,
        "and" => Function::And,
        "or" => Function::Or,
        "not" => Function::Not,
        "index" => {
            take(tokens);
            return match (take(tokens), take(tokens)) {
                (Some(Token::Dot), Some(Token::Text(name))) => Ok(Expr::Index(name.clone())),
                _ => Err(TemplateError::Arguments {
                    function: "index",
                    wanted: "`.` and one quoted name",
                }),
            };
        }
        _ => return parse_operand(tokens, depth),
    };
    take(tokens);
    let mut arguments = Vec::new();
    while !matches!(tokens.first(), None | Some(Token::Close)) {
        arguments.push(parse_operand(tokens, depth)?);
    }
    typed(function, arguments)
}

fn parse_operand(tokens: &mut &[Token], depth: usize) -> Result<Expr, TemplateError> {
    match take(tokens) {
        Some(Token::Field(name)) => Ok(Expr::Field(name.clone())),
        Some(Token::Text(text)) => Ok(Expr::Literal(text.clone())),
        Some(Token::Word(word)) if word == "true" || word == "false" => {
            Ok(Expr::Bool(word == "true"))
        }
        Some(Token::Word(word)) => Err(unsupported(word)),
        Some(Token::Open) if depth < MAX_DEPTH => {
            let expr = parse_call(tokens, depth + 1)?;
            match take(tokens) {
                Some(Token::Close) => Ok(expr),
                _ => Err(unsupported("(")),
            }
        }
        Some(Token::Open) => Err(TemplateError::TooDeep),
        Some(Token::Close) => Err(unsupported(")")),
        Some(Token::Dot) => Err(unsupported(".")),
        None => Err(unsupported("an empty action")),
    }
}

/// Checks the number and the types of the arguments.
fn typed(function: Function, arguments: Vec<Expr>) -> Result<Expr, TemplateError> {
    let (name, wanted, enough) = match function {
        Function::Eq => ("eq", "two values or more", arguments.len() >= 2),
        Function::Ne => ("ne", "two values", arguments.len() == 2),
        Function::And => ("and", "one value or more", !arguments.is_empty()),
        Function::Or => ("or", "one value or more", !arguments.is_empty()),
        Function::Not => ("not", "one value", arguments.len() == 1),
    };
    if !enough {
        return Err(TemplateError::Arguments {
            function: name,
            wanted,
        });
    }
    let compares = matches!(function, Function::Eq | Function::Ne);
    if compares && common_type(&arguments) == Type::Either {
        return Err(TemplateError::MixedTypes { function: name });
    }
    Ok(Expr::Call(function, arguments))
}

fn type_of(expr: &Expr) -> Type {
    match expr {
        Expr::Field(_) | Expr::Index(_) | Expr::Literal(_) => Type::Text,
        Expr::Bool(_) | Expr::Call(Function::Eq | Function::Ne | Function::Not, _) => Type::Bool,
        Expr::Call(Function::And | Function::Or, arguments) => common_type(arguments),
    }
}

fn common_type(arguments: &[Expr]) -> Type {
    let mut types = arguments.iter().map(type_of);
    let first = types.next().unwrap_or(Type::Either);
    if types.all(|other| other == first) {
        first
    } else {
        Type::Either
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Data made of pairs; a value that begins with `[` stands for an array.
    struct Pairs(&'static [(&'static str, &'static str)]);

    impl Data for Pairs {
        fn value(&self, name: &str) -> Value {
            match self.0.iter().find(|(key, _)| *key == name) {
                None => Value::Missing,
                Some((_, value)) if value.starts_with('[') => Value::NotScalar,
                Some((_, value)) => Value::Text((*value).to_owned()),
            }
        }
    }

    const DATA: Pairs = Pairs(&[
        ("url", "https://ci.example"),
        ("ref", "main"),
        ("ref_type", "branch"),
        ("empty", ""),
        ("a.b/c", "dotted"),
        ("list", "[1]"),
        ("flag", "true"),
    ]);

    fn render(source: &str) -> Result<String, RenderError> {
        Template::parse(source)
            .unwrap_or_else(|error| panic!("{source}: {error}"))
            .render(&DATA)
    }

    #[test]
    fn templates_render_as_in_the_language_they_follow() {
        for (source, expected) in [
            ("ref", "main"),
            ("{{.url}}/x/{{ .ref }}", "https://ci.example/x/main"),
            (r#"{{ index . "a.b/c" }}|{{index . "no such"}}"#, "dotted|"),
            (
                r#"refs/{{if eq .ref_type "branch"}}heads{{else}}tags{{end}}/{{.ref}}"#,
                "refs/heads/main",
            ),
            (
                r#"{{ if eq .ref_type "tag" }}t{{ else if eq .ref "main" "next" }}m{{ else }}o{{ end }}"#,
                "m",
            ),
            ("{{ if .empty }}yes{{ end }}no", "no"),
            ("{{ if and .ref (not .empty) }}yes{{ end }}", "yes"),
            (
                r#"{{ or .empty "fallback" }} {{ and .ref .ref_type }} {{ or .ref .nothing }}"#,
                "fallback branch main",
            ),
            (
                r#"{{ ne .ref "x" }} {{ not true }} {{ eq (eq .ref "x") false }}"#,
                "true false true",
            ),
            ("a  {{- .ref -}}  b", "amainb"),
            ("a\n{{- if .ref }}\n x {{ end -}}\n b", "a\n x b"),
            ("{{ `raw \\ }} text` }}", "raw \\ }} text"),
            (r#"{{ "quo\"te\\ }}" }}"#, r#"quo"te\ }}"#),
            ("}} {{ .ref }}", "}} main"),
            (
                r#"{{ if eq .flag "true" }}{{ if .empty }}{{ else }}in{{ end }}{{ end }}"#,
                "in",
            ),
        ] {
            assert_eq!(render(source).as_deref(), Ok(expected), "{source}");
        }
    }

    #[test]
    fn missing_fields_fail_and_missing_indices_do_not() {
        assert_eq!(
            render("nothing"),
            Err(RenderError::Missing("nothing".into()))
        );
        assert_eq!(
            render("x{{ .nothing }}"),
            Err(RenderError::Missing("nothing".into()))
        );
        assert_eq!(
            render("{{ if .nothing }}a{{ end }}"),
            Err(RenderError::Missing("nothing".into()))
        );
        assert_eq!(
            render("{{ .list }}"),
            Err(RenderError::NotScalar("list".into()))
        );
        assert_eq!(
            render(r#"{{ index . "list" }}"#),
            Err(RenderError::NotScalar("list".into()))
        );
    }

    #[test]
    fn in_a_uri_no_value_is_empty_or_more_than_a_path() {
        const CLAIMS: Pairs = Pairs(&[
            ("url", "https://ci.example"),
            ("path", "a b/c?d#e%2f@é|"),
            ("none", ""),
        ]);
        let uri = |source: &str| Template::parse(source).unwrap().render_uri(&CLAIMS);
        assert_eq!(
            uri("{{.url}}/{{.path}}").as_deref(),
            Ok("https://ci.example/a%20b/c%3Fd%23e%252f@%C3%A9%7C")
        );
        assert_eq!(
            uri("{{.url}}/{{.none}}"),
            Err(RenderError::Empty("none".into()))
        );
        assert_eq!(
            uri(r#"{{.url}}/{{ index . "gone" }}"#),
            Err(RenderError::Empty("gone".into()))
        );
        assert_eq!(
            uri("{{.url}}/x{{ if .none }}/{{ .none }}{{ end }}").as_deref(),
            Ok("https://ci.example/x")
        );
    }

    #[test]
    fn everything_outside_the_subset_is_refused_when_loaded() {
        use TemplateError as E;
        type Expectation = fn(&TemplateError) -> bool;
        let unsupported: Expectation = |e| matches!(e, E::Unsupported { .. });
        let arguments: Expectation = |e| matches!(e, E::Arguments { .. });
        let mixed: Expectation = |e| matches!(e, E::MixedTypes { .. });
        let cases: Vec<(String, Expectation)> = vec![
            ("{{ .a | printf \"%s\" }}".into(), unsupported),
            ("{{ $x := .a }}".into(), unsupported),
            ("{{ range .a }}{{ end }}".into(), unsupported),
            ("{{ with .a }}{{ end }}".into(), unsupported),
            ("{{ printf .a }}".into(), unsupported),
            ("{{ len .a }}".into(), unsupported),
            ("{{/* comment */}}".into(), unsupported),
            ("{{ .a.b }}".into(), unsupported),
            ("{{ . }}".into(), unsupported),
            ("{{ .a .b }}".into(), unsupported),
            ("{{ }}".into(), unsupported),
            ("{{ eq .a 1 }}".into(), unsupported),
            ("{{ (eq .a .b }}".into(), unsupported),
            ("{{ .a) }}".into(), unsupported),
            ("{{ .a-b }}".into(), unsupported),
            ("{{ \"\\n\" }}".into(), unsupported),
            ("{{ define \"x\" }}{{ end }}".into(), unsupported),
            ("{{ if .a }}{{ else with .b }}{{ end }}".into(), unsupported),
            ("{{ end .a }}".into(), unsupported),
            ("{{ index .a \"b\" }}".into(), arguments),
            ("{{ index . }}".into(), arguments),
            ("{{ index . \"a\" \"b\" }}".into(), unsupported),
            ("{{ eq .a }}".into(), arguments),
            ("{{ ne .a .b .c }}".into(), arguments),
            ("{{ not }}".into(), arguments),
            ("{{ not .a .b }}".into(), arguments),
            ("{{ and }}".into(), arguments),
            ("{{ eq .a true }}".into(), mixed),
            ("{{ eq (or .a true) .b }}".into(), mixed),
            ("{{ .a".into(), |e| matches!(e, E::UnclosedAction)),
            ("{{ \"}}\" ".into(), |e| matches!(e, E::UnclosedAction)),
            ("{{ if .a }}".into(), |e| matches!(e, E::UnclosedIf)),
            ("{{ if .a }}{{ else }}".into(), |e| {
                matches!(e, E::UnclosedIf)
            }),
            ("{{ end }}".into(), |e| matches!(e, E::Stray("end"))),
            ("{{ else }}".into(), |e| matches!(e, E::Stray("else"))),
            ("{{ if .a }}{{ else }}{{ else }}{{ end }}".into(), |e| {
                matches!(e, E::Stray("else"))
            }),
            (
                format!("{}{}", "{{ if .a }}".repeat(20), "{{ end }}".repeat(20)),
                |e| matches!(e, E::TooDeep),
            ),
            (
                format!("{{{{ {}.a{} }}}}", "(".repeat(20), ")".repeat(20)),
                |e| matches!(e, E::TooDeep),
            ),
            (
                format!("{{{{ .a }}}}{}", "x".repeat(MAX_TEMPLATE_BYTES)),
                |e| matches!(e, E::TooLong(_)),
            ),
        ];
        for (source, expected) in cases {
            let error = Template::parse(&source).expect_err(&source);
            assert!(expected(&error), "{source}: {error:?}");
        }
    }

    #[test]
    fn the_fixed_prefix_stops_at_what_a_request_can_change() {
        struct Fixed;
        impl Data for Fixed {
            fn value(&self, name: &str) -> Value {
                match name {
                    "url" => Value::Text("https://ci.example".into()),
                    "optional" => Value::Text(String::new()),
                    _ => Value::Missing,
                }
            }
        }
        for (source, expected) in [
            ("{{.url}}/{{.ref}}/x", "https://ci.example/"),
            (
                "https://ci.example/{{if .url}}a{{end}}",
                "https://ci.example/",
            ),
            ("https://{{ .ref }}", "https://"),
            ("{{ .optional }}/x", ""),
            ("subject", ""),
        ] {
            assert_eq!(
                Template::parse(source).unwrap().fixed_prefix(&Fixed),
                expected,
                "{source}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn no_source_makes_the_parser_panic(source in r#"(\{\{-? ?|-?\}\}|if |else|end|eq |not |index \. |\.ref|\.|"|`|\(|\)|a| |true ){0,24}"#) {
            if let Ok(template) = Template::parse(&source) {
                let _ = template.render(&DATA);
                let _ = template.fixed_prefix(&DATA);
            }
        }

        #[test]
        fn whatever_a_claim_says_a_uri_keeps_its_host(claim in "\\PC{1,20}") {
            struct One(String);
            impl Data for One {
                fn value(&self, _: &str) -> Value {
                    Value::Text(self.0.clone())
                }
            }
            let template = Template::parse("https://ci.example/{{ .x }}").unwrap();
            let uri = url::Url::parse(&template.render_uri(&One(claim)).unwrap()).unwrap();
            assert_eq!((uri.host_str(), uri.query(), uri.fragment()), (Some("ci.example"), None, None));
        }
    }
}
