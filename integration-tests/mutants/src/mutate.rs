//! Finds what can be broken in a source file, and writes the file with every break in it, each behind a switch.
//!
//! A mutant is an expression, a statement or an arm that does something else when its number is the active one. All
//! mutants of a crate are compiled into the same program (mutant schemata), so that trying one costs a run and no build.
//! Text is only inserted: the original stays where it was, and so do its line numbers.

use std::collections::BTreeSet;
use std::ops::Range;

use anyhow::{Context as _, Result};
use proc_macro2::{LineColumn, Span};
use quote::ToTokens;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{
    Arm, Attribute, BinOp, Block, Expr, GenericArgument, Lit, Pat, PathArguments, RangeLimits,
    ReturnType, Signature, Stmt, Type, UnOp,
};

/// Something that can be broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Site {
    /// Line of the broken place, from 1.
    pub(crate) line: usize,
    /// Column of it, from 1.
    pub(crate) column: usize,
    /// The function around it, with the type it belongs to: `Checkpoint::parse`.
    pub(crate) function: String,
    /// What is done to it, in words and code. Together with the function it names the mutant when lines move.
    pub(crate) mutation: String,
}

/// A source file with what can be broken in it.
#[derive(Debug)]
pub(crate) struct Source {
    text: String,
    /// What can be broken, in the order of the text.
    pub(crate) sites: Vec<Site>,
    insertions: Vec<Insertion>,
    spans: Vec<Range<usize>>,
    tests: Vec<Range<usize>>,
    /// Names of modules that only exist in tests and have a file of their own.
    pub(crate) test_modules: BTreeSet<String>,
}

/// Text that goes into the file when its site is compiled in.
#[derive(Debug)]
struct Insertion {
    at: usize,
    /// Endings stand before beginnings at the same place, inner endings before outer ones.
    order: (bool, isize),
    site: usize,
    text: Piece,
}

/// The parts that mutants are made of.
#[derive(Debug)]
enum Piece {
    /// `(if on { mutated } else { ` and the original follows.
    Instead(String),
    /// `if on { text }` as a statement of its own.
    Early(String),
    /// `if !on { ` and the statement follows.
    Unless,
    /// ` if !on` behind a pattern.
    Guard,
    /// Closes what was opened.
    Close(&'static str),
}

impl Piece {
    fn render(&self, number: usize) -> String {
        let on = format!("crate::__mutant::on({number})");
        match self {
            Self::Instead(mutated) => format!("(if {on} {{ {mutated} }} else {{ "),
            Self::Early(text) => format!(" if {on} {{ {text} }} "),
            Self::Unless => format!("if !{on} {{ "),
            Self::Guard => format!(" if !{on}"),
            Self::Close(text) => (*text).to_owned(),
        }
    }
}

/// The rewritten file, and which part of it belongs to which site.
#[derive(Debug)]
pub(crate) struct Rewritten {
    /// The text for the compiler.
    pub(crate) text: String,
    /// Inserted ranges of `text`, each with the index of its site.
    inserted: Vec<(Range<usize>, usize)>,
    /// Ranges of `text` that were copied, each with where it began in the source.
    copied: Vec<(Range<usize>, usize)>,
}

impl Source {
    /// Reads a source file. Fails when it is no Rust.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let file = syn::parse_file(text).context("this is not Rust")?;
        let mut finder = Finder::new(text);
        finder.visit_file(&file);
        Ok(finder.source)
    }

    /// The code without what only exists in tests: a test that changes makes no killed mutant alive.
    pub(crate) fn code(&self) -> String {
        let mut code = String::new();
        let mut at = 0;
        for range in &self.tests {
            code.push_str(self.text.get(at..range.start).unwrap_or_default());
            at = range.end;
        }
        code.push_str(self.text.get(at..).unwrap_or_default());
        code
    }

    /// The file with all sites that `number` gives a number to. A site without one stays as it was.
    pub(crate) fn rewrite(&self, number: impl Fn(usize) -> Option<usize>) -> Rewritten {
        let mut insertions: Vec<&Insertion> = self.insertions.iter().collect();
        insertions.sort_by_key(|insertion| (insertion.at, insertion.order));
        let mut out = Rewritten {
            text: String::with_capacity(3 * self.text.len()),
            inserted: Vec::new(),
            copied: Vec::new(),
        };
        let mut at = 0;
        for insertion in insertions {
            let Some(number) = number(insertion.site) else {
                continue;
            };
            out.copy(&self.text, at..insertion.at);
            at = insertion.at;
            let start = out.text.len();
            out.text.push_str(&insertion.text.render(number));
            out.inserted.push((start..out.text.len(), insertion.site));
        }
        out.copy(&self.text, at..self.text.len());
        out
    }

    /// The innermost of the `present` sites around a range of the source.
    fn innermost(&self, range: &Range<usize>, present: impl Fn(usize) -> bool) -> Option<usize> {
        let around = self.spans.iter().enumerate().filter(|(site, span)| {
            present(*site) && span.start <= range.start && range.end <= span.end
        });
        around
            .min_by_key(|(_, span)| span.len())
            .map(|(site, _)| site)
    }

    /// The sites that a compiler's complaint about a range of the rewritten text is about: those whose own text it
    /// touches, else the innermost one around it.
    pub(crate) fn blame(
        &self,
        rewritten: &Rewritten,
        range: &Range<usize>,
        present: impl Fn(usize) -> bool,
    ) -> Blame {
        let touched = rewritten
            .inserted
            .iter()
            .filter(|(inserted, _)| inserted.start <= range.start && range.end <= inserted.end);
        if let Some((_, site)) = touched.into_iter().next() {
            return Blame::Own(*site);
        }
        let Some(source) = rewritten.source_range(range) else {
            return Blame::Nobody;
        };
        self.innermost(&source, present)
            .map_or(Blame::Nobody, Blame::Around)
    }
}

/// Whom a complaint of the compiler is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blame {
    /// The text that this site put in.
    Own(usize),
    /// Original text inside this site.
    Around(usize),
    /// Text outside every site.
    Nobody,
}

impl Rewritten {
    fn copy(&mut self, text: &str, range: Range<usize>) {
        let start = self.text.len();
        self.text
            .push_str(text.get(range.clone()).unwrap_or_default());
        self.copied.push((start..self.text.len(), range.start));
    }

    fn source_offset(&self, offset: usize) -> Option<usize> {
        let copied = self
            .copied
            .iter()
            .find(|(range, _)| range.start <= offset && offset <= range.end)?;
        Some(copied.1 + offset - copied.0.start)
    }

    fn source_range(&self, range: &Range<usize>) -> Option<Range<usize>> {
        Some(self.source_offset(range.start)?..self.source_offset(range.end)?)
    }
}

/// Walks a file and collects sites.
struct Finder {
    source: Source,
    path: Vec<String>,
    /// The condition or operand whose negation another site stands for already.
    negated: bool,
}

impl Finder {
    fn new(text: &str) -> Self {
        Self {
            source: Source {
                text: text.to_owned(),
                sites: Vec::new(),
                insertions: Vec::new(),
                spans: Vec::new(),
                tests: Vec::new(),
                test_modules: BTreeSet::new(),
            },
            path: Vec::new(),
            negated: false,
        }
    }

    fn site(&mut self, at: LineColumn, span: Range<usize>, mutation: String) -> usize {
        self.source.sites.push(Site {
            line: at.line,
            column: at.column + 1,
            function: self.path.join("::"),
            mutation,
        });
        self.source.spans.push(span);
        self.source.sites.len() - 1
    }

    fn insert(&mut self, at: usize, begins: bool, site: usize, text: Piece) {
        let count = self.source.insertions.len() as isize;
        let order = (begins, if begins { count } else { -count });
        self.source.insertions.push(Insertion {
            at,
            order,
            site,
            text,
        });
    }

    /// A site that is `mutated` instead of the expression when it is on.
    fn instead(&mut self, whole: Span, at: Span, mutated: &impl ToTokens, mutation: String) {
        let range = whole.byte_range();
        let site = self.site(at.start(), range.clone(), mutation);
        let mutated = one_line(mutated);
        self.insert(range.start, true, site, Piece::Instead(mutated));
        self.insert(range.end, false, site, Piece::Close(" })"));
    }

    fn binary(&mut self, whole: &syn::ExprBinary) {
        let original = short(whole);
        for op in replacements(&whole.op) {
            let mut mutated = whole.clone();
            mutated.op = op;
            let mutation = format!(
                "`{original}`: `{}` becomes `{}`",
                one_line(&whole.op),
                one_line(&op)
            );
            self.instead(whole.span(), whole.op.span(), &mutated, mutation);
        }
    }

    fn negation(&mut self, whole: &Expr) {
        let mutated = quote::quote! { !(#whole) };
        let mutation = format!("`{}` is negated", short(whole));
        self.instead(whole.span(), whole.span(), &mutated, mutation);
    }

    fn literal(&mut self, whole: &Expr, literal: &Lit) {
        match literal {
            Lit::Bool(value) => {
                let flipped = quote::format_ident!("{}", (!value.value).to_string());
                let mutation = format!("`{}` becomes `{flipped}`", value.value);
                self.instead(whole.span(), whole.span(), &flipped, mutation);
            }
            Lit::Int(value) => {
                let Some(next) = value
                    .base10_parse::<u128>()
                    .ok()
                    .and_then(|value| value.checked_add(1))
                else {
                    return;
                };
                let next = syn::LitInt::new(&format!("{next}{}", value.suffix()), value.span());
                let mutation = format!("`{value}` becomes `{next}`");
                self.instead(whole.span(), whole.span(), &next, mutation);
            }
            _ => {}
        }
    }

    fn range(&mut self, whole: &syn::ExprRange) {
        let Some(end) = &whole.end else {
            return;
        };
        // The literal is a site of its own and says the same.
        if matches!(**end, Expr::Lit(_)) {
            return;
        }
        let (step, becomes) = match whole.limits {
            RangeLimits::HalfOpen(_) => (quote::quote! { (#end) + 1 }, "..="),
            RangeLimits::Closed(_) => (quote::quote! { (#end) - 1 }, ".."),
        };
        let mut mutated = whole.clone();
        mutated.end = Some(Box::new(Expr::Verbatim(step)));
        let mutation = format!("`{}` becomes a range with `{becomes}`", short(whole));
        self.instead(whole.span(), whole.limits.span(), &mutated, mutation);
    }

    fn method(&mut self, whole: &syn::ExprMethodCall) {
        let name = whole.method.to_string();
        let swapped = match (name.as_str(), whole.args.len()) {
            ("min", 1) => "max",
            ("max", 1) => "min",
            _ => return,
        };
        let mut mutated = whole.clone();
        mutated.method = quote::format_ident!("{swapped}");
        let mutation = format!("`{}`: `{name}` becomes `{swapped}`", short(whole));
        self.instead(whole.span(), whole.method.span(), &mutated, mutation);
    }

    fn condition(&mut self, condition: &Expr) {
        if !has_let(condition) && !is_broken_by_itself(condition) {
            self.negation(condition);
        }
    }

    fn guard(&mut self, guard: &Expr) {
        if has_let(guard) {
            return;
        }
        for value in ["true", "false"] {
            let mutated = quote::format_ident!("{value}");
            let mutation = format!("guard `{}` becomes `{value}`", short(guard));
            self.instead(guard.span(), guard.span(), &mutated, mutation);
        }
    }

    /// Arms before one that catches everything may be left to it.
    fn arms(&mut self, arms: &[Arm]) {
        let Some(last) = arms.iter().rposition(catches_all) else {
            return;
        };
        for arm in arms
            .iter()
            .take(last)
            .filter(|arm| arm.guard.is_none() && !catches_all(arm))
        {
            let mutation = format!(
                "arm `{}` is left to the one that catches all",
                short(&arm.pat)
            );
            let range = arm.pat.span().byte_range();
            let site = self.site(arm.pat.span().start(), range.clone(), mutation);
            self.insert(range.end, false, site, Piece::Guard);
        }
    }

    fn early_returns(&mut self, signature: &Signature, block: &Block) {
        if signature.constness.is_some() || is_trivial(block) {
            return;
        }
        for value in early_values(&signature.output) {
            if self.is_just(block, &value) {
                continue;
            }
            let at = signature.ident.span();
            let body = block.span().byte_range();
            let text = if value.is_empty() {
                "return".to_owned()
            } else {
                format!("return {value}")
            };
            let site = self.site(
                at.start(),
                body.clone(),
                format!("the body becomes `{text}`"),
            );
            self.insert(body.start + 1, true, site, Piece::Early(format!("{text};")));
        }
    }

    /// Whether a body is this expression and nothing else.
    fn is_just(&self, block: &Block, value: &str) -> bool {
        let body = self.source.text.get(block.span().byte_range());
        body.is_some_and(|body| body.trim_matches(['{', '}']).trim() == value)
    }

    fn function(&mut self, signature: &Signature, attributes: &[Attribute], block: &Block) {
        if is_test(attributes) || signature.constness.is_some() {
            return;
        }
        self.path.push(signature.ident.to_string());
        self.early_returns(signature, block);
        self.visit_block(block);
        self.path.pop();
    }

    fn skip_test(&mut self, span: Span) {
        self.source.tests.push(span.byte_range());
    }
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if item_attributes(item).is_some_and(is_test) {
            if let syn::Item::Mod(module) = item {
                self.source.test_modules.insert(module.ident.to_string());
            }
            self.skip_test(item.span());
            return;
        }
        match item {
            syn::Item::Fn(item) => self.function(&item.sig, &item.attrs, &item.block),
            syn::Item::Impl(item) => {
                self.path.push(short(&item.self_ty));
                visit::visit_item_impl(self, item);
                self.path.pop();
            }
            syn::Item::Trait(item) => {
                self.path.push(item.ident.to_string());
                visit::visit_item_trait(self, item);
                self.path.pop();
            }
            syn::Item::Mod(item) => visit::visit_item_mod(self, item),
            // Everything else is types, or evaluated by the compiler, where nothing can be switched.
            _ => {}
        }
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        if let syn::ImplItem::Fn(item) = item {
            if is_test(&item.attrs) {
                self.skip_test(item.span());
            } else {
                self.function(&item.sig, &item.attrs, &item.block);
            }
        }
    }

    fn visit_trait_item(&mut self, item: &'ast syn::TraitItem) {
        if let syn::TraitItem::Fn(item) = item
            && let Some(block) = &item.default
        {
            self.function(&item.sig, &item.attrs, block);
        }
    }

    fn visit_attribute(&mut self, _: &'ast Attribute) {}
    fn visit_type(&mut self, _: &'ast Type) {}
    fn visit_pat(&mut self, _: &'ast Pat) {}
    fn visit_generic_argument(&mut self, _: &'ast GenericArgument) {}
    fn visit_macro(&mut self, _: &'ast syn::Macro) {}
    fn visit_expr_const(&mut self, _: &'ast syn::ExprConst) {}
    fn visit_expr_repeat(&mut self, repeat: &'ast syn::ExprRepeat) {
        self.visit_expr(&repeat.expr);
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        self.visit_expr(&call.func);
        let sizes_memory = matches!(&*call.func, Expr::Path(path)
            if path.path.segments.last().is_some_and(|last| last.ident == "with_capacity"));
        // How much memory is set aside beforehand changes nothing that a test could see.
        if !sizes_memory {
            call.args
                .iter()
                .for_each(|argument| self.visit_expr(argument));
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        if let Some(init) = &local.init {
            visit::visit_local_init(self, init);
        }
    }

    fn visit_stmt(&mut self, statement: &'ast Stmt) {
        if let Stmt::Expr(call, Some(_)) = statement
            && is_call(call)
        {
            let range = statement.span().byte_range();
            let mutation = format!("`{};` is left out", short(call));
            let site = self.site(call.span().start(), range.clone(), mutation);
            self.insert(range.start, true, site, Piece::Unless);
            self.insert(range.end, false, site, Piece::Close(" }"));
        }
        visit::visit_stmt(self, statement);
    }

    fn visit_arm(&mut self, arm: &'ast Arm) {
        if let Some((_, guard)) = &arm.guard {
            self.guard(guard);
            self.negated = is_predicate(guard);
            self.visit_expr(guard);
        }
        self.visit_expr(&arm.body);
    }

    fn visit_expr(&mut self, expression: &'ast Expr) {
        let negated = std::mem::take(&mut self.negated);
        match expression {
            Expr::Binary(whole) => {
                let chain = matches!(whole.op, BinOp::And(_)) && has_let(expression);
                if !chain {
                    self.binary(whole);
                }
            }
            Expr::Unary(whole) if matches!(whole.op, UnOp::Not(_)) => {
                let operand = &whole.expr;
                let mutation = format!("`{}` loses its `!`", short(expression));
                self.instead(expression.span(), expression.span(), operand, mutation);
                self.negated = true;
            }
            // The sign belongs to the literal.
            Expr::Unary(whole) if matches!(*whole.expr, Expr::Lit(_)) => return,
            Expr::Lit(whole) => self.literal(expression, &whole.lit),
            Expr::Range(whole) => self.range(whole),
            Expr::MethodCall(whole) => {
                if is_predicate(expression) && !negated {
                    self.negation(expression);
                }
                self.method(whole);
            }
            Expr::Macro(_) if is_predicate(expression) && !negated => self.negation(expression),
            Expr::If(whole) => self.condition(&whole.cond),
            Expr::While(whole) => self.condition(&whole.cond),
            Expr::Match(whole) => self.arms(&whole.arms),
            _ => {}
        }
        visit::visit_expr(self, expression);
        self.negated = false;
    }
}

fn replacements(op: &BinOp) -> Vec<BinOp> {
    let tokens: &[&str] = match op {
        BinOp::Lt(_) => &["<=", ">="],
        BinOp::Le(_) => &["<", ">"],
        BinOp::Gt(_) => &[">=", "<="],
        BinOp::Ge(_) => &[">", "<"],
        BinOp::Eq(_) => &["!="],
        BinOp::Ne(_) => &["=="],
        BinOp::And(_) => &["||"],
        BinOp::Or(_) => &["&&"],
        BinOp::Add(_) | BinOp::Mul(_) => &["-"],
        BinOp::Sub(_) => &["+"],
        BinOp::Div(_) | BinOp::Rem(_) => &["*"],
        BinOp::BitAnd(_) | BinOp::BitXor(_) => &["|"],
        BinOp::BitOr(_) => &["&"],
        BinOp::Shl(_) => &[">>"],
        BinOp::Shr(_) => &["<<"],
        BinOp::AddAssign(_) => &["-="],
        BinOp::SubAssign(_) => &["+="],
        BinOp::MulAssign(_) => &["+="],
        BinOp::DivAssign(_) => &["*="],
        BinOp::BitOrAssign(_) | BinOp::BitXorAssign(_) => &["&="],
        BinOp::BitAndAssign(_) => &["|="],
        BinOp::ShlAssign(_) => &[">>="],
        BinOp::ShrAssign(_) => &["<<="],
        _ => &[],
    };
    tokens
        .iter()
        .filter_map(|token| syn::parse_str(token).ok())
        .collect()
}

/// Methods whose answer is a truth value that somebody decides by.
const PREDICATES: &[&str] = &[
    "all",
    "any",
    "contains",
    "contains_key",
    "ends_with",
    "eq",
    "eq_ignore_ascii_case",
    "insert",
    "is_empty",
    "is_err",
    "is_none",
    "is_none_or",
    "is_ok",
    "is_some",
    "is_some_and",
    "starts_with",
];

fn is_predicate(expression: &Expr) -> bool {
    match expression {
        Expr::MethodCall(call) => PREDICATES.contains(&call.method.to_string().as_str()),
        Expr::Macro(call) => call.mac.path.is_ident("matches"),
        _ => false,
    }
}

/// Whether a condition is an expression that is turned into its opposite anyway.
fn is_broken_by_itself(condition: &Expr) -> bool {
    match condition {
        Expr::Paren(inner) => is_broken_by_itself(&inner.expr),
        Expr::Binary(_) | Expr::Lit(_) => true,
        Expr::Unary(unary) => matches!(unary.op, UnOp::Not(_)),
        other => is_predicate(other),
    }
}

fn has_let(expression: &Expr) -> bool {
    match expression {
        Expr::Let(_) => true,
        Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        Expr::Paren(inner) => has_let(&inner.expr),
        _ => false,
    }
}

fn is_call(expression: &Expr) -> bool {
    match expression {
        Expr::Call(_) | Expr::MethodCall(_) => true,
        Expr::Try(inner) => is_call(&inner.expr),
        Expr::Await(inner) => is_call(&inner.base),
        _ => false,
    }
}

fn catches_all(arm: &Arm) -> bool {
    let bare_name = matches!(&arm.pat, Pat::Ident(name) if name.subpat.is_none()
        && name.ident.to_string().starts_with(|c: char| c.is_ascii_lowercase()));
    arm.guard.is_none() && (matches!(arm.pat, Pat::Wild(_)) || bare_name)
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        let says_test = one_line(&attribute.meta).contains("test");
        path.is_ident("test") || (path.is_ident("cfg") && says_test)
    })
}

fn item_attributes(item: &syn::Item) -> Option<&[Attribute]> {
    match item {
        syn::Item::Fn(item) => Some(&item.attrs),
        syn::Item::Impl(item) => Some(&item.attrs),
        syn::Item::Mod(item) => Some(&item.attrs),
        syn::Item::Trait(item) => Some(&item.attrs),
        syn::Item::Use(item) => Some(&item.attrs),
        _ => None,
    }
}

/// Whether a body is a single literal or constant, which an early return would only say again.
fn is_trivial(block: &Block) -> bool {
    matches!(
        block.stmts.as_slice(),
        [] | [Stmt::Expr(Expr::Lit(_), None)]
    )
}

/// What a function of this type may return before it has looked at anything. An empty string is a bare `return`.
fn early_values(output: &ReturnType) -> Vec<String> {
    match output {
        ReturnType::Default => vec![String::new()],
        ReturnType::Type(_, of) => values_of(of),
    }
}

fn values_of(of: &Type) -> Vec<String> {
    match of {
        Type::Tuple(tuple) if tuple.elems.is_empty() => vec!["()".into()],
        Type::Path(path) => {
            let Some(last) = path.path.segments.last() else {
                return Vec::new();
            };
            let inner = match &last.arguments {
                PathArguments::AngleBracketed(arguments) => arguments.args.first(),
                _ => None,
            };
            let inner_values = || match inner {
                Some(GenericArgument::Type(of)) => values_of(of),
                _ => vec!["()".into()],
            };
            match last.ident.to_string().as_str() {
                "bool" => vec!["true".into(), "false".into()],
                "Result" => inner_values()
                    .iter()
                    .map(|value| format!("Ok({value})"))
                    .collect(),
                "Option" => vec!["None".into()],
                "String" | "Vec" | "BTreeMap" | "BTreeSet" | "HashMap" | "HashSet" => {
                    vec!["Default::default()".into()]
                }
                "u8" | "u16" | "u32" | "u64" | "u128" | "usize" | "i32" | "i64" => {
                    vec!["0".into(), "1".into()]
                }
                _ => Vec::new(),
            }
        }
        _ => Vec::new(),
    }
}

/// Rust text of a syntax tree in one line and without comments.
fn one_line(tree: &impl ToTokens) -> String {
    tree.to_token_stream().to_string()
}

/// The text of a syntax tree as it stands in the file, in one line and at most 70 characters.
fn short(tree: &impl ToTokens) -> String {
    const LONGEST: usize = 70;
    let span = tree.to_token_stream().span();
    let written = span.source_text().unwrap_or_else(|| one_line(tree));
    let words: Vec<&str> = written.split_whitespace().collect();
    let tidy = words.join(" ").replace(" .", ".");
    if tidy.chars().count() <= LONGEST {
        return tidy;
    }
    let cut: String = tidy.chars().take(LONGEST - 1).collect();
    format!("{cut}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutations(text: &str) -> Vec<String> {
        let source = Source::parse(text).unwrap();
        source.sites.into_iter().map(|site| site.mutation).collect()
    }

    fn in_function(body: &str) -> Vec<String> {
        mutations(&format!("fn of() -> Unknown {{ {body} }}"))
    }

    #[test]
    fn what_can_be_broken_in_an_expression() {
        let cases: &[(&str, &[&str])] = &[
            (
                "a < b",
                &["`a < b`: `<` becomes `<=`", "`a < b`: `<` becomes `>=`"],
            ),
            ("a == b", &["`a == b`: `==` becomes `!=`"]),
            ("a && b", &["`a && b`: `&&` becomes `||`"]),
            ("a + b", &["`a + b`: `+` becomes `-`"]),
            ("a >> b", &["`a >> b`: `>>` becomes `<<`"]),
            ("!a", &["`!a` loses its `!`"]),
            ("!a.is_empty()", &["`!a.is_empty()` loses its `!`"]),
            ("a.is_some()", &["`a.is_some()` is negated"]),
            ("a.max(b)", &["`a.max(b)`: `max` becomes `min`"]),
            ("f(true)", &["`true` becomes `false`"]),
            ("a[7u8]", &["`7u8` becomes `8u8`"]),
            ("&a[..b]", &["`..b` becomes a range with `..=`"]),
            ("&a[..4]", &["`4` becomes `5`"]),
            ("{ f(a)?; b }", &["`f(a)?;` is left out"]),
            ("{ a += b; }", &["`a += b`: `+=` becomes `-=`"]),
            ("if f(a) { b } else { c }", &["`f(a)` is negated"]),
            (
                "match a { B => c, _ => d }",
                &["arm `B` is left to the one that catches all"],
            ),
            (
                "match a { b if c => d, _ => e }",
                &["guard `c` becomes `true`", "guard `c` becomes `false`"],
            ),
        ];
        for (body, expected) in cases {
            assert_eq!(in_function(body), *expected, "{body}");
        }
    }

    #[test]
    fn what_is_left_alone() {
        for body in [
            "[a; 4]",
            "if let B = c { d }",
            "let 4 = a;",
            "f::<4>(a)",
            "Vec::with_capacity(4 + a.len())",
            "println!(\"{}\", 1 + 2)",
            "const A: u8 = 1 + 2;",
            "match a { B => c, D => e }",
        ] {
            assert_eq!(in_function(body), Vec::<String>::new(), "{body}");
        }
        for text in [
            "const A: usize = 1 + 2;",
            "const fn a() -> usize { 1 + 2 }",
            "#[cfg(test)] mod tests { fn a() -> bool { 1 < 2 } }",
            "#[test] fn a() { b(); }",
            "#[derive(A)] struct B { c: [u8; 4] }",
            "trait A { fn b() -> bool; }",
        ] {
            assert_eq!(mutations(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn a_body_is_left_at_once_with_what_its_type_allows() {
        let cases: &[(&str, &[&str])] = &[
            ("fn a() { b }", &["return"]),
            ("fn a() -> bool { b }", &["return true", "return false"]),
            ("fn a() -> Result<()> { b }", &["return Ok(())"]),
            ("fn a() -> fmt::Result { b }", &["return Ok(())"]),
            (
                "fn a() -> Result<bool, E> { b }",
                &["return Ok(true)", "return Ok(false)"],
            ),
            ("fn a() -> Result<Option<T>, E> { b }", &["return Ok(None)"]),
            ("fn a() -> Vec<T> { b }", &["return Default::default()"]),
            ("fn a() -> usize { b }", &["return 0", "return 1"]),
            ("fn a() -> Verified { b }", &[]),
            ("fn a() -> Result<Verified, E> { b }", &[]),
        ];
        for (text, expected) in cases {
            let found = mutations(text);
            let expected: Vec<String> = expected
                .iter()
                .map(|value| format!("the body becomes `{value}`"))
                .collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_body_that_is_one_value_becomes_another_one() {
        assert_eq!(
            mutations("fn a() -> Result<bool, E> { Ok(false) }"),
            [
                "the body becomes `return Ok(true)`",
                "`false` becomes `true`"
            ]
        );
    }

    const NESTED: &str = "\
impl<T> Tree<T> {
    fn grows(&self) -> Unknown {
        // A comment that must not swallow code.
        self.size + 1 <
            self.limit && // why
            !self.frozen
    }
}
";

    /// Every mutant is Rust, alone and with all others, and lines stay where they were.
    #[test]
    fn all_switches_together_are_rust_on_the_same_lines() {
        let source = Source::parse(NESTED).unwrap();
        let all = source.rewrite(|site| Some(site + 1));
        syn::parse_file(&all.text).unwrap();
        assert_eq!(all.text.lines().count(), NESTED.lines().count());
        for number in 1..=source.sites.len() {
            assert!(
                all.text
                    .contains(&format!("crate::__mutant::on({number}) "))
            );
            let alone = source.rewrite(|site| (site + 1 == number).then_some(number));
            syn::parse_file(&alone.text).unwrap();
        }
        let function = source.sites.first().map(|site| site.function.clone());
        assert_eq!(function.as_deref(), Some("Tree<T>::grows"));
        let nothing = source.rewrite(|_| None);
        assert_eq!(nothing.text, NESTED);
    }

    #[test]
    fn complaints_go_to_the_mutant_that_wrote_the_text_or_stands_around_it() {
        let source = Source::parse(NESTED).unwrap();
        let all = source.rewrite(|site| Some(site + 1));
        let find = |text: &str| {
            let start = all.text.find(text).unwrap();
            start..start + text.len()
        };
        let site = |mutation: &str| {
            let found = source
                .sites
                .iter()
                .position(|site| site.mutation == mutation);
            found.unwrap()
        };
        let plus = site("`self.size + 1`: `+` becomes `-`");
        let mutated = find("self . size - 1");
        assert_eq!(source.blame(&all, &mutated, |_| true), Blame::Own(plus));
        let frozen = site("`!self.frozen` loses its `!`");
        let original = find("!self.frozen");
        assert_eq!(
            source.blame(&all, &original, |_| true),
            Blame::Around(frozen)
        );
        let and = source.blame(&all, &original, |site| site != frozen);
        assert!(
            matches!(and, Blame::Around(site) if source.sites[site].mutation.contains("`&&` becomes"))
        );
        let name = find("grows");
        assert_eq!(source.blame(&all, &name, |_| true), Blame::Nobody);
    }

    #[test]
    fn tests_are_no_part_of_the_code() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() {} }\nfn c() {}\n";
        let source = Source::parse(text).unwrap();
        assert_eq!(source.code(), "fn a() {}\n\nfn c() {}\n");
        assert!(source.test_modules.contains("tests"));
    }
}
