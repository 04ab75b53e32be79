//! Certified real arithmetic: a number is known to lie between two binary fractions, and every operation rounds outwards.
//! Nothing here is ever wrong, only wide: what a comparison decides with it is a proof.

use dashu_base::{BitTest, Sign};
use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

/// Magnitudes beyond `2^±MOST_EXPONENT` are not computed with.
const MOST_EXPONENT: i64 = 1 << 40;

/// A real number between `lo · 2^exp` and `hi · 2^exp`.
#[derive(Debug, Clone)]
pub(super) struct Ball {
    lo: IBig,
    hi: IBig,
    exp: i64,
}

/// `⌈x / 2^n⌉`.
fn shr_up(x: &IBig, n: usize) -> IBig {
    -((-x) >> n)
}

fn ubig(x: &IBig) -> UBig {
    x.clone().into_parts().1
}

fn is_negative(x: &IBig) -> bool {
    x.sign() == Sign::Negative && !x.is_zero()
}

impl Ball {
    /// An integer, exactly.
    pub(super) fn int(value: i64) -> Self {
        Self::new(IBig::from(value), IBig::from(value), 0)
    }

    fn new(lo: IBig, hi: IBig, exp: i64) -> Self {
        Self { lo, hi, exp }
    }

    /// The fraction to `prec` bits.
    pub(super) fn of(value: &RBig, prec: usize) -> Option<Self> {
        let numerator = Self::new(value.numerator().clone(), value.numerator().clone(), 0).rounded(prec)?;
        if value.denominator().is_one() {
            return Some(numerator);
        }
        let denominator = IBig::from(value.denominator().clone());
        numerator.div(&Self::new(denominator.clone(), denominator, 0).rounded(prec)?, prec)
    }

    /// A finite float, exactly.
    pub(super) fn of_f64(value: f64) -> Option<Self> {
        if !value.is_finite() {
            return None;
        }
        let bits = value.to_bits();
        let exponent = ((bits >> 52) & 0x7ff) as i64;
        let fraction = (bits & ((1 << 52) - 1)) as i64;
        let mantissa = if exponent == 0 { fraction } else { fraction | 1 << 52 };
        let signed = IBig::from(if value < 0.0 { -mantissa } else { mantissa });
        Some(Self::new(signed.clone(), signed, exponent.max(1) - 1075))
    }

    /// Cuts the bounds to `prec` bits, outwards; `None` if the magnitude is out of range.
    fn rounded(self, prec: usize) -> Option<Self> {
        let bits = self.lo.bit_len().max(self.hi.bit_len());
        if bits == 0 {
            return Some(Self::int(0));
        }
        let Self { mut lo, mut hi, mut exp } = self;
        if bits > prec + 32 {
            let cut = bits - prec;
            (lo, hi) = if lo == hi && lo.trailing_zeros().is_some_and(|zeros| zeros >= cut) {
                let cut = lo >> cut;
                (cut.clone(), cut)
            } else {
                (lo >> cut, shr_up(&hi, cut))
            };
            exp += cut as i64;
        }
        (exp.abs() < MOST_EXPONENT).then_some(Self { lo, hi, exp })
    }

    pub(super) fn neg(&self) -> Self {
        Self::new(-&self.hi, -&self.lo, self.exp)
    }

    pub(super) fn add(&self, other: &Self, prec: usize) -> Option<Self> {
        let (high, low) = if self.exp >= other.exp { (self, other) } else { (other, self) };
        let gap = usize::try_from(high.exp - low.exp).ok()?;
        let bits = low.lo.bit_len().max(low.hi.bit_len());
        // What lies far below the last bit of the other only widens it.
        if gap > 2 * prec + bits + 64 && !(high.lo.is_zero() && high.hi.is_zero()) {
            let shift = prec + 32;
            let down = IBig::from(u8::from(is_negative(&low.lo)));
            let up = IBig::from(u8::from(!is_negative(&low.hi) && !low.hi.is_zero()));
            let sum = Self::new((&high.lo << shift) - down, (&high.hi << shift) + up, high.exp - shift as i64);
            return sum.rounded(prec);
        }
        if high.lo.is_zero() && high.hi.is_zero() {
            return Some(low.clone());
        }
        Self::new((&high.lo << gap) + &low.lo, (&high.hi << gap) + &low.hi, low.exp).rounded(prec)
    }

    pub(super) fn sub(&self, other: &Self, prec: usize) -> Option<Self> {
        self.add(&other.neg(), prec)
    }

    pub(super) fn mul(&self, other: &Self, prec: usize) -> Option<Self> {
        let exp = self.exp.checked_add(other.exp)?;
        let (lo, hi) = if !is_negative(&self.lo) && !is_negative(&other.lo) {
            (&self.lo * &other.lo, &self.hi * &other.hi)
        } else {
            bounds([&self.lo * &other.lo, &self.lo * &other.hi, &self.hi * &other.lo, &self.hi * &other.hi])
        };
        Self::new(lo, hi, exp).rounded(prec)
    }

    /// `None` if the divisor may be zero.
    pub(super) fn div(&self, other: &Self, prec: usize) -> Option<Self> {
        if other.has_zero() {
            return None;
        }
        if other.is_negative() {
            return self.neg().div(&other.neg(), prec);
        }
        let bits = self.lo.bit_len().max(self.hi.bit_len());
        let shift = (prec + 32 + other.hi.bit_len()).saturating_sub(bits);
        let exp = self.exp.checked_sub(other.exp)?.checked_sub(shift as i64)?;
        // A positive bound shrinks by the larger divisor, a negative one by the smaller.
        let low = floor_div(&(&self.lo << shift), if is_negative(&self.lo) { &other.lo } else { &other.hi });
        let high = -floor_div(&-(&self.hi << shift), if is_negative(&self.hi) { &other.hi } else { &other.lo });
        Self::new(low, high, exp).rounded(prec)
    }

    /// The square root; `None` if the number may be negative.
    pub(super) fn sqrt(&self, prec: usize) -> Option<Self> {
        if is_negative(&self.lo) {
            return None;
        }
        let mut shift = 2 * prec + 64;
        shift += usize::from((self.exp - shift as i64) % 2 != 0);
        let lo = ubig(&(&self.lo << shift)).nth_root(2);
        let hi = ubig(&(&self.hi << shift)).nth_root(2) + UBig::ONE;
        Self::new(lo.into(), hi.into(), (self.exp - shift as i64) / 2).rounded(prec)
    }

    /// To the power of a whole number, by squaring.
    pub(super) fn powi(&self, mut exponent: u64, prec: usize) -> Option<Self> {
        let mut power = Self::int(1);
        let mut square = self.clone();
        while exponent > 0 {
            if exponent & 1 == 1 {
                power = power.mul(&square, prec)?;
            }
            exponent >>= 1;
            if exponent > 0 {
                square = square.mul(&square, prec)?;
            }
        }
        Some(power)
    }

    pub(super) fn abs(&self) -> Self {
        if !is_negative(&self.lo) {
            self.clone()
        } else if is_negative(&self.hi) {
            self.neg()
        } else {
            Self::new(IBig::ZERO, (-&self.lo).max(self.hi.clone()), self.exp)
        }
    }

    /// Times `2^n`, exactly.
    pub(super) fn shifted(&self, n: i64) -> Option<Self> {
        let exp = self.exp.checked_add(n)?;
        (exp.abs() < MOST_EXPONENT).then(|| Self::new(self.lo.clone(), self.hi.clone(), exp))
    }

    /// The middle as a ball of no width, and the distance to the bounds.
    pub(super) fn middle(&self) -> (Self, Self) {
        if self.lo == self.hi {
            return (self.clone(), Self::int(0));
        }
        let sum = &self.lo + &self.hi;
        let width = &self.hi - &self.lo;
        (Self::new(sum.clone(), sum, self.exp - 1), Self::new(width.clone(), width, self.exp - 1))
    }

    /// Wider by the upper bound of `radius` on both sides.
    pub(super) fn widened(&self, radius: &Self, prec: usize) -> Option<Self> {
        let reach = radius.abs().hi;
        self.add(&Self::new(-&reach, reach, radius.exp), prec)
    }

    /// Whether zero lies within.
    pub(super) fn has_zero(&self) -> bool {
        self.lo.is_zero() || self.hi.is_zero() || (is_negative(&self.lo) && !is_negative(&self.hi))
    }

    pub(super) fn is_positive(&self) -> bool {
        !is_negative(&self.lo) && !self.lo.is_zero()
    }

    pub(super) fn is_negative(&self) -> bool {
        is_negative(&self.hi)
    }

    /// `2^n` is more than all magnitudes within; `None` for zero.
    pub(super) fn magnitude(&self) -> Option<i64> {
        let bits = self.lo.bit_len().max(self.hi.bit_len());
        (bits > 0).then(|| self.exp + bits as i64)
    }

    /// The same for the smallest magnitude within: at least `2^n`. `None` if zero may lie within.
    pub(super) fn least_magnitude(&self) -> Option<i64> {
        (!self.has_zero()).then(|| self.exp + self.lo.bit_len().min(self.hi.bit_len()) as i64 - 1)
    }

    /// The whole number below all that lies within, if it is one and the same.
    pub(super) fn floor(&self) -> Option<IBig> {
        let floor = |bound: &IBig| {
            let places = usize::try_from(self.exp.unsigned_abs()).ok().filter(|places| *places < 1 << 16)?;
            Some(if self.exp < 0 { bound >> places } else { bound << places })
        };
        let (low, high) = (floor(&self.lo)?, floor(&self.hi)?);
        (low == high).then_some(low)
    }

    /// About the number itself, for a start.
    pub(super) fn to_f64(&self) -> f64 {
        let bits = self.hi.bit_len().max(self.lo.bit_len());
        let cut = bits.saturating_sub(60);
        let top = i64::try_from((&self.lo + &self.hi) >> (cut + 1)).unwrap_or_default();
        top as f64 * 2f64.powi((self.exp + cut as i64).clamp(-4000, 4000) as i32)
    }
}

/// `⌊a / b⌋` for positive `b`.
fn floor_div(a: &IBig, b: &IBig) -> IBig {
    if is_negative(a) {
        let magnitude = -a + (b - IBig::ONE);
        -(magnitude / b)
    } else {
        a / b
    }
}

fn bounds(values: [IBig; 4]) -> (IBig, IBig) {
    let [a, b, c, d] = values;
    let (low_ab, high_ab) = if a <= b { (a, b) } else { (b, a) };
    let (low_cd, high_cd) = if c <= d { (c, d) } else { (d, c) };
    (low_ab.min(low_cd), high_ab.max(high_cd))
}
