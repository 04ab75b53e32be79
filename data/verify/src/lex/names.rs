//! Which commands and names the lexer knows.

/// Commands whose braces go with them, and whose content is text.
pub(super) const WRAPPERS: [&str; 9] =
    ["text", "textbf", "textit", "textrm", "mathrm", "mbox", "operatorname", "textnormal", "rm"];
/// Commands that set type around mathematics.
pub(super) const STYLES: [&str; 8] =
    ["mathbf", "mathit", "mathsf", "boldsymbol", "bm", "boxed", "displaystyle", "textstyle"];
/// Commands that leave nothing behind.
pub(super) const NOTHING: [&str; 15] = [
    "left", "right", "quad", "qquad", "big", "Big", "bigg", "Bigg", "bigl", "bigr", "Bigl", "Bigr", "limits", "bf",
    "it",
];
/// Commands and letters of other alphabets that stand for a sign.
pub(super) const SIGNS: [(&str, char); 37] = [
    ("cdot", '*'),
    ("times", '*'),
    ("ast", '*'),
    ("div", '/'),
    ("le", '≤'),
    ("leq", '≤'),
    ("leqslant", '≤'),
    ("ge", '≥'),
    ("geq", '≥'),
    ("geqslant", '≥'),
    ("ne", '≠'),
    ("neq", '≠'),
    ("lt", '<'),
    ("gt", '>'),
    ("in", '∈'),
    ("cup", '∪'),
    ("bigcup", '∪'),
    ("cap", '∩'),
    ("setminus", '∖'),
    ("backslash", '∖'),
    ("approx", '≈'),
    ("pm", '±'),
    ("mp", '∓'),
    ("mid", '|'),
    ("vert", '|'),
    ("lvert", '|'),
    ("rvert", '|'),
    ("lor", ';'),
    ("vee", ';'),
    ("circ", '°'),
    ("degree", '°'),
    ("colon", ':'),
    ("langle", '('),
    ("rangle", ')'),
    ("prime", '\''),
    ("lbrack", '['),
    ("rbrack", ']'),
];

/// Names that plain text writes without a backslash.
pub(super) const NAMES: [&str; 24] = [
    "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "asin", "acos", "atan", "sinh", "cosh",
    "tanh", "ln", "log", "exp", "sqrt", "pi", "infty", "inf", "infinity", "theta",
];

/// Commands that are letters.
pub(in super::super) const GREEK: [&str; 36] = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "varepsilon",
    "zeta",
    "eta",
    "theta",
    "vartheta",
    "iota",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "rho",
    "sigma",
    "tau",
    "upsilon",
    "phi",
    "varphi",
    "chi",
    "psi",
    "omega",
    "Gamma",
    "Delta",
    "Theta",
    "Lambda",
    "Xi",
    "Sigma",
    "Phi",
    "Psi",
    "Omega",
    "ell",
    "hbar",
];
/// Commands that begin like a shorter one and are one themselves.
pub(super) const KNOWN: [&str; 13] =
    ["sinh", "cosh", "tanh", "infty", "int", "inf", "theta", "psi", "prime", "lceil", "nu", "lg", "leftarrow"];
