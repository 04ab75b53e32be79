//! Factors: numbers, variables, roots, functions, brackets, matrices, with what is set behind and above them.

use super::super::expr::{Expr, Function};
use super::super::lex::{GREEK, Kind, Number};
use super::{MOST_CHAIN, Parser, multiply};

/// Commands that put a mark over a variable.
const ACCENTS: [&str; 12] = [
    "vec",
    "hat",
    "bar",
    "overline",
    "overrightarrow",
    "dot",
    "ddot",
    "tilde",
    "widehat",
    "underline",
    "mathcal",
    "mathbb",
];
impl Parser {
    /// Whether the next token begins a factor, so that it multiplies what stands before it.
    pub(super) fn starts_factor(&self) -> bool {
        match self.peek() {
            Some(Kind::Number(_)) => {
                // `2 3` is no product, `x2` neither.
                matches!(self.at.checked_sub(1).map(|i| &self.tokens[i].kind), Some(Kind::Sign(')' | '}' | ']')))
            }
            Some(Kind::Letter(_) | Kind::SetOpen | Kind::Begin | Kind::Sign('(' | '{' | '[')) => true,
            Some(Kind::Command(name)) => !matches!(name.as_str(), "rfloor" | "rceil" | "to" | "rightarrow"),
            Some(Kind::Sign('|')) => self.bars == 0,
            _ => false,
        }
    }

    /// A factor with exponents, factorials, percent and degree signs.
    pub(super) fn power(&mut self) -> Option<Expr> {
        let mut base = self.nested(Self::atom)?;
        for _ in 0..MOST_CHAIN {
            match self.sign() {
                Some('^') => {
                    self.at += 1;
                    base = self.raised(base)?;
                }
                Some('!') => {
                    self.at += 1;
                    base = Expr::call(Function::Factorial, base);
                }
                Some('%') => {
                    self.at += 1;
                    base = Expr::Percent(Box::new(base));
                }
                Some('°') => {
                    self.at += 1;
                    base = Expr::Degrees(Box::new(base));
                }
                Some('\'') => return None,
                _ => return Some(base),
            }
        }
        None
    }

    fn raised(&mut self, base: Expr) -> Option<Expr> {
        if self.accept('°') {
            return Some(Expr::Degrees(Box::new(base)));
        }
        if self.sign() == Some('{') && matches!(self.tokens.get(self.at + 1).map(|t| &t.kind), Some(Kind::Sign('°'))) {
            self.at += 2;
            self.expect('}')?;
            return Some(Expr::Degrees(Box::new(base)));
        }
        Some(Expr::Pow(Box::new(base), Box::new(self.exponent()?)))
    }

    fn exponent(&mut self) -> Option<Expr> {
        if self.accept('-') {
            return Some(self.nested(Self::atom)?.negated());
        }
        self.accept('+');
        let exponent = self.nested(Self::atom)?;
        if self.accept('^') {
            let above = self.nested(Self::exponent)?;
            return Some(Expr::Pow(Box::new(exponent), Box::new(above)));
        }
        Some(exponent)
    }

    pub(super) fn atom(&mut self) -> Option<Expr> {
        let token = self.tokens.get(self.at)?.kind.clone();
        self.at += 1;
        match token {
            Kind::Number(number) => self.number(&number),
            Kind::Letter(letter) => self.letter(letter),
            Kind::Command(name) => self.command(&name),
            Kind::Begin => self.matrix(),
            Kind::SetOpen => self.set(|parser| {
                let closed = parser.peek() == Some(&Kind::SetClose);
                parser.at += usize::from(closed);
                closed
            }),
            Kind::Sign('{') => self.group(),
            Kind::Sign(open @ ('(' | '[')) => self.bracket(open),
            Kind::Sign('|') => {
                let inner = self.between_bars()?;
                self.expect('|')?;
                Some(Expr::call(Function::Abs, inner))
            }
            _ => None,
        }
    }

    fn between_bars(&mut self) -> Option<Expr> {
        self.bars += 1;
        let inner = self.sum();
        self.bars -= 1;
        inner
    }

    /// Runs `inner` where a bar opens something again.
    fn unbarred<T>(&mut self, bars: usize, inner: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let outer = std::mem::replace(&mut self.bars, bars);
        let result = inner(self);
        self.bars = outer;
        result
    }

    /// The argument of a command: braces, or one sign, of a number its first digit.
    pub(super) fn argument(&mut self) -> Option<Expr> {
        if let Some(Kind::Number(number)) = self.peek()
            && number.places.is_none()
            && number.exponent == 0
            && number.digits.len() > 1
        {
            let (first, rest) = number.digits.split_at(1);
            let (first, rest) = (first.parse::<i64>().ok()?, rest.to_owned());
            self.tokens[self.at].kind = Kind::Number(Number { digits: rest, ..Number::default() });
            return Some(Expr::int(first));
        }
        self.nested(Self::atom)
    }

    fn letter(&mut self, letter: String) -> Option<Expr> {
        let applied = matches!(letter.as_str(), "f" | "g" | "h" | "F" | "G" | "H" | "P" | "Q" | "N" | "T" | "S" | "C")
            && self.sign() == Some('(');
        if applied && let Some(arguments) = self.applied() {
            return Some(Expr::Sym(letter + &arguments));
        }
        if letter == "C" && self.sign() == Some('_') {
            let start = self.at;
            if let Some(binomial) = self.binomial_by_scripts() {
                return Some(binomial);
            }
            self.at = start;
        }
        let name = self.subscripted(letter)?;
        Some(match name.as_str() {
            "e" => Expr::E,
            "i" => Expr::I,
            _ => Expr::Sym(name),
        })
    }

    /// `(x)` right before a relation: the letter names a function.
    fn applied(&mut self) -> Option<String> {
        let end = self.at + 2;
        let argument = match &self.tokens.get(self.at + 1)?.kind {
            Kind::Letter(name) => name.clone(),
            Kind::Number(number) => number.digits.clone(),
            _ => return None,
        };
        let closed = self.tokens.get(end)?.kind == Kind::Sign(')');
        let related = matches!(self.tokens.get(end + 1)?.kind, Kind::Sign('=' | '<' | '>' | '≤' | '≥' | '≠'));
        if !closed || !related {
            return None;
        }
        self.at = end + 1;
        Some(format!("({argument})"))
    }

    /// `C_{n}^{k}`.
    fn binomial_by_scripts(&mut self) -> Option<Expr> {
        self.expect('_')?;
        let n = self.argument()?;
        self.expect('^')?;
        let k = self.argument()?;
        Some(Expr::Binomial(Box::new(n), Box::new(k)))
    }

    /// A name with what is set below it.
    fn subscripted(&mut self, mut name: String) -> Option<String> {
        if self.accept('_') {
            name.push('_');
            self.raw(&mut name)?;
        }
        Some(name)
    }

    /// Takes one token, or a group in braces, as it stands.
    fn raw(&mut self, into: &mut String) -> Option<()> {
        let mut open = 0;
        loop {
            match self.peek()? {
                Kind::Sign('{') => open += 1,
                Kind::Sign('}') => open -= 1,
                Kind::Sign(sign) => into.push(*sign),
                Kind::Number(number) => into.push_str(&number.digits),
                Kind::Letter(text) | Kind::Word(text) | Kind::Command(text) => into.push_str(text),
                _ => return None,
            }
            self.at += 1;
            if open <= 0 {
                return Some(());
            }
        }
    }

    fn command(&mut self, name: &str) -> Option<Expr> {
        match name {
            "frac" | "dfrac" | "tfrac" | "cfrac" => {
                let numerator = self.argument()?;
                Some(numerator.over(self.argument()?))
            }
            "binom" | "dbinom" | "tbinom" => {
                let n = self.argument()?;
                Some(Expr::Binomial(Box::new(n), Box::new(self.argument()?)))
            }
            "sqrt" => self.root(),
            "pi" => Some(Expr::Pi),
            "infty" | "inf" | "infinity" => Some(Expr::Infinity),
            "emptyset" | "varnothing" => Some(Expr::Set(Vec::new())),
            "R" => Some(Expr::Reals),
            "mathbb" if self.is_reals() => Some(Expr::Reals),
            "lfloor" => self.enclosed("rfloor", Function::Floor),
            "lceil" => self.enclosed("rceil", Function::Ceil),
            "lg" => {
                let argument = self.function_argument()?;
                Some(Expr::LogBase(Box::new(Expr::int(10)), Box::new(argument)))
            }
            _ => {
                if let Some(function) = Function::named(name) {
                    return self.applied_function(function);
                }
                if ACCENTS.contains(&name) {
                    let mut symbol = format!("{name} ");
                    self.raw(&mut symbol)?;
                    return Some(Expr::Sym(self.subscripted(symbol)?));
                }
                GREEK.contains(&name).then(|| self.subscripted(name.to_owned()))?.map(Expr::Sym)
            }
        }
    }

    fn is_reals(&mut self) -> bool {
        let start = self.at;
        let mut name = String::new();
        if self.raw(&mut name).is_some() && name == "R" {
            return true;
        }
        self.at = start;
        false
    }

    fn root(&mut self) -> Option<Expr> {
        let degree = if self.accept('[') {
            let degree = self.nested(Self::sum)?;
            self.expect(']')?;
            degree
        } else {
            Expr::int(2)
        };
        // `\sqrt2`, `\sqrt 51` and `sqrt(2)`.
        let radicand = self.nested(Self::atom)?;
        Some(Expr::Root(Box::new(degree), Box::new(radicand)))
    }

    fn enclosed(&mut self, close: &str, function: Function) -> Option<Expr> {
        let inner = self.unbarred(0, |parser| parser.nested(Self::sum))?;
        let closed = matches!(self.peek(), Some(Kind::Command(name)) if name == close);
        self.at += 1;
        closed.then(|| Expr::call(function, inner))
    }

    fn applied_function(&mut self, function: Function) -> Option<Expr> {
        let base = if function == Function::Log && self.accept('_') { Some(self.argument()?) } else { None };
        let exponent = if self.accept('^') { Some(self.exponent()?) } else { None };
        let argument = self.function_argument()?;
        let minus_one = exponent.as_ref().is_some_and(|e| *e == Expr::int(1).negated() || *e == Expr::int(-1));
        if let (true, Some(inverse)) = (minus_one, function.inverse()) {
            return Some(Expr::call(inverse, argument));
        }
        let value = match base {
            Some(base) => Expr::LogBase(Box::new(base), Box::new(argument)),
            None => Expr::call(function, argument),
        };
        Some(match exponent {
            Some(exponent) => Expr::Pow(Box::new(value), Box::new(exponent)),
            None => value,
        })
    }

    /// What a function is applied to: a bracket, or the product that follows up to an operator or another function.
    fn function_argument(&mut self) -> Option<Expr> {
        if matches!(self.sign(), Some('(' | '{' | '[')) {
            let bracket = self.nested(Self::atom)?;
            return bracket.is_scalar().then_some(bracket);
        }
        let negative = self.accept('-');
        let mut factors = Vec::new();
        loop {
            let is_function =
                matches!(self.peek(), Some(Kind::Command(name)) if Function::named(name).is_some() || name == "lg");
            let ends = matches!(self.sign(), Some('(' | '[')) || is_function || !self.starts_factor();
            if !factors.is_empty() && ends {
                break;
            }
            factors.push(self.nested(Self::power)?);
        }
        let argument = multiply(factors);
        Some(if negative { argument.negated() } else { argument })
    }

    /// Braces that group, or a set whose backslashes were lost.
    fn group(&mut self) -> Option<Expr> {
        let start = self.at;
        if let Some(inner) = self.unbarred(0, |parser| parser.nested(Self::item))
            && self.accept('}')
        {
            return Some(inner);
        }
        self.at = start;
        self.set(|parser| parser.accept('}'))
    }

    /// The rest of a set, up to its end.
    fn set(&mut self, closed: impl Fn(&mut Self) -> bool) -> Option<Expr> {
        if closed(self) {
            return Some(Expr::Set(Vec::new()));
        }
        let first = self.unbarred(1, |parser| parser.nested(Self::item))?;
        if self.accept('|') || self.accept(':') {
            let condition = self.unbarred(0, |parser| parser.nested(Self::list))?;
            return closed(self).then(|| Expr::Builder(Box::new(first), Box::new(condition)));
        }
        let mut items = vec![first];
        while self.accept(',') || self.accept(';') {
            items.push(self.unbarred(0, |parser| parser.nested(Self::item))?);
        }
        closed(self).then_some(Expr::Set(items))
    }

    fn bracket(&mut self, open: char) -> Option<Expr> {
        let mut items = vec![self.unbarred(0, |parser| parser.nested(Self::item))?];
        while self.accept(',') || self.accept(';') {
            items.push(self.unbarred(0, |parser| parser.nested(Self::item))?);
        }
        let close = self.sign().filter(|close| matches!(close, ')' | ']'))?;
        self.at += 1;
        if items.len() == 1 {
            return Some(items.remove(0));
        }
        Some(Expr::Bracket { items, round_open: open == '(', round_close: close == ')' })
    }

    fn matrix(&mut self) -> Option<Expr> {
        let mut rows = vec![Vec::new()];
        loop {
            if self.peek() == Some(&Kind::End) {
                self.at += 1;
                break;
            }
            let item = self.unbarred(0, |parser| parser.nested(Self::item))?;
            rows.last_mut()?.push(item);
            if self.accept('&') {
                continue;
            }
            if self.peek() == Some(&Kind::Row) {
                self.at += 1;
                if self.peek() != Some(&Kind::End) {
                    rows.push(Vec::new());
                }
            } else if self.peek() != Some(&Kind::End) {
                return None;
            }
        }
        let width = rows[0].len();
        (width > 0 && rows.iter().all(|row| row.len() == width)).then_some(Expr::Matrix(rows))
    }
}
