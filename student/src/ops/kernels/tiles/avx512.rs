//! Packing and multiplying for AVX-512: f32, and pairs of bf16.

use std::arch::x86_64::{
    __m512, __m512i, __mmask16, _MM_HINT_T0, _mm_prefetch, _mm_storeu_ps, _mm256_storeu_ps, _mm512_castpd_ps,
    _mm512_castps_pd, _mm512_castps512_ps256, _mm512_castsi512_ps, _mm512_extractf32x4_ps, _mm512_fmadd_ps,
    _mm512_loadu_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_mul_ps, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_shuffle_f32x4, _mm512_storeu_ps, _mm512_unpackhi_pd, _mm512_unpackhi_ps, _mm512_unpacklo_pd,
    _mm512_unpacklo_ps,
};

use super::{COLUMNS, Left, Output, ROWS};

/// Words in a vector.
const LANES: usize = 16;
/// Vectors side by side in a tile.
const WIDE: usize = COLUMNS / LANES;
type Sums = [[__m512; WIDE]; ROWS];

/// The first `count` lanes.
fn lanes(count: usize) -> __mmask16 {
    ((1u32 << count.min(LANES)) - 1) as u16
}

/// Up to 16 numbers; those that are missing are zero.
#[inline]
#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "loads through a pointer")]
unsafe fn load(from: *const f32, count: usize) -> __m512 {
    // SAFETY: the caller has `count` numbers there.
    unsafe { _mm512_maskz_loadu_ps(lanes(count), from) }
}

/// Swaps rows and columns of 16 × 16 words.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(r: &[__m512; LANES]) -> [__m512; LANES] {
    let pd = |x| _mm512_castps_pd(x);
    let ps = |x| _mm512_castpd_ps(x);
    let zero = _mm512_setzero_ps();
    // Pairs of rows, then fours, each in the four quarters of a vector; then quarters are gathered.
    let (mut twos, mut fours, mut eights, mut all) = ([zero; LANES], [zero; LANES], [zero; LANES], [zero; LANES]);
    for i in 0..LANES / 2 {
        twos[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        twos[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for i in 0..LANES / 4 {
        let t = &twos[4 * i..4 * i + 4];
        fours[4 * i] = ps(_mm512_unpacklo_pd(pd(t[0]), pd(t[2])));
        fours[4 * i + 1] = ps(_mm512_unpackhi_pd(pd(t[0]), pd(t[2])));
        fours[4 * i + 2] = ps(_mm512_unpacklo_pd(pd(t[1]), pd(t[3])));
        fours[4 * i + 3] = ps(_mm512_unpackhi_pd(pd(t[1]), pd(t[3])));
    }
    for i in 0..4 {
        eights[i] = _mm512_shuffle_f32x4::<0x88>(fours[i], fours[4 + i]);
        eights[4 + i] = _mm512_shuffle_f32x4::<0xdd>(fours[i], fours[4 + i]);
        eights[8 + i] = _mm512_shuffle_f32x4::<0x88>(fours[8 + i], fours[12 + i]);
        eights[12 + i] = _mm512_shuffle_f32x4::<0xdd>(fours[8 + i], fours[12 + i]);
    }
    for i in 0..4 {
        all[i] = _mm512_shuffle_f32x4::<0x88>(eights[i], eights[8 + i]);
        all[8 + i] = _mm512_shuffle_f32x4::<0xdd>(eights[i], eights[8 + i]);
        all[4 + i] = _mm512_shuffle_f32x4::<0x88>(eights[4 + i], eights[12 + i]);
        all[12 + i] = _mm512_shuffle_f32x4::<0xdd>(eights[4 + i], eights[12 + i]);
    }
    all
}

/// Asks for the lines that a tile is written to.
#[inline]
#[target_feature(enable = "avx512f")]
fn fetch(out: Output, rows: usize) {
    for r in 0..rows {
        let line = out.at(r, 0).data.cast::<i8>();
        _mm_prefetch::<_MM_HINT_T0>(line);
        _mm_prefetch::<_MM_HINT_T0>(line.wrapping_add(64));
    }
}

/// Writes a tile.
#[inline]
#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "loads and stores through pointers")]
unsafe fn write(sums: &Sums, out: Output, [rows, cols]: [usize; 2]) {
    let alpha = _mm512_set1_ps(out.alpha);
    for (r, sums) in sums.iter().enumerate() {
        if r >= rows {
            break;
        }
        for (j, sum) in sums.iter().enumerate() {
            let to = out.at(r, j * LANES).data;
            let mask = lanes(cols.saturating_sub(j * LANES));
            // SAFETY: the mask leaves out what is not the output's.
            unsafe {
                let value = if out.add {
                    _mm512_fmadd_ps(alpha, *sum, _mm512_maskz_loadu_ps(mask, to))
                } else {
                    _mm512_mul_ps(alpha, *sum)
                };
                _mm512_mask_storeu_ps(to, mask, value);
            }
        }
    }
}

/// Writes the words of a panel's row from its `from`-th on. In whole parts, which processors are faster at than with masks.
#[inline]
#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "stores through a pointer")]
unsafe fn store<const WIDTH: usize>(to: *mut f32, from: usize, words: __m512) {
    const {
        assert!(
            WIDTH.is_multiple_of(LANES) || WIDTH % LANES == 12,
            "rows of a panel end with a whole or three quarters"
        );
    }
    // SAFETY: the caller has room for these words.
    unsafe {
        if WIDTH - from >= LANES {
            _mm512_storeu_ps(to.add(from), words);
        } else {
            _mm256_storeu_ps(to.add(from), _mm512_castps512_ps256(words));
            _mm_storeu_ps(to.add(from + 8), _mm512_extractf32x4_ps::<2>(words));
        }
    }
}

/// Where the `k`-th word of the tile below is, or, if words lie along the inner dimension, one line of those near it.
#[inline]
fn below(left: Left, k: usize) -> *const i8 {
    let (row, k) =
        if left.col_stride == 1 { (ROWS + (k % LANES).min(ROWS - 1), k - k % LANES) } else { (2 * ROWS - 1, k) };
    left.data.wrapping_add(row * left.row_stride + k * left.col_stride).cast()
}

/// Packing and multiplying for one kind of numbers. `$along` makes words of numbers that lie along the inner dimension,
/// `$across` of numbers that lie across it; `$step` adds the product of a word of each side to the sums.
macro_rules! kernel {
    ($name:ident, $features:literal, $per_word:literal, $along:path, $across:path, $step:path) => {
        pub(in super::super) mod $name {
            use super::super::{Mat, Panels};
            use super::*;

            /// Rows of `mat` into panels of `[depth, WIDTH]` words; what is missing is zero.
            #[target_feature(enable = $features)]
            #[expect(unsafe_code, reason = "loads and stores through pointers")]
            pub(in super::super) unsafe fn pack<const WIDTH: usize>(mat: Mat<'_>, to: Panels) {
                assert!(mat.col_stride == 1 || mat.row_stride == 1, "one of a matrix's strides is 1");
                let (panels, depth) = (mat.rows.div_ceil(WIDTH), mat.cols.div_ceil($per_word));
                let (from, stride, to) = (mat.data.as_ptr(), to.stride, to.data.cast::<f32>());
                // SAFETY: the caller has room for the panels; `from` is read where masks say that the matrix is.
                unsafe {
                    if mat.col_stride == 1 {
                        for (p, l) in (0..panels).flat_map(|p| (0..WIDTH).step_by(LANES).map(move |l| (p, l))) {
                            let first = p * WIDTH + l;
                            let rows = mat.rows.saturating_sub(first).min(WIDTH - l).min(LANES);
                            let from = from.wrapping_add(first * mat.row_stride);
                            let to = to.add(p * stride);
                            for at in (0..depth).step_by(LANES) {
                                let from = from.wrapping_add(at * $per_word);
                                let mut words = [_mm512_setzero_ps(); LANES];
                                for (i, words) in words.iter_mut().enumerate() {
                                    if i < rows {
                                        let from = from.wrapping_add(i * mat.row_stride);
                                        *words = $along(from, mat.cols - at * $per_word);
                                    }
                                }
                                for (i, words) in transpose(&words).iter().enumerate() {
                                    if i < depth - at {
                                        store::<WIDTH>(to.add((at + i) * WIDTH), l, *words);
                                    }
                                }
                            }
                        }
                        return;
                    }
                    let whole = mat.rows / WIDTH;
                    for at in 0..depth {
                        let from = from.wrapping_add(at * $per_word * mat.col_stride);
                        let rest = mat.cols - at * $per_word;
                        for p in 0..panels {
                            for l in (0..WIDTH).step_by(LANES) {
                                let first = p * WIDTH + l;
                                let all = lanes(WIDTH - l);
                                let mask = if p < whole { all } else { all & lanes(mat.rows.saturating_sub(first)) };
                                let words = $across(from.wrapping_add(first), mat.col_stride, mask, rest);
                                store::<WIDTH>(to.add(p * stride + at * WIDTH), l, words);
                            }
                        }
                    }
                }
            }

            /// The product of `ROWS` rows and a panel of `[depth, COLUMNS]` words.
            #[target_feature(enable = $features)]
            #[expect(unsafe_code, reason = "loads and stores through pointers")]
            pub(in super::super) unsafe fn tile(
                depth: usize,
                left: Left,
                right: *const u32,
                out: Output,
                size: [usize; 2],
            ) {
                fetch(out, size[0]);
                let mut sums: Sums = [[_mm512_setzero_ps(); WIDE]; ROWS];
                // Every third row: an address reaches two more by adding the stride once or twice.
                let mut rows: [*const f32; ROWS / 3] =
                    std::array::from_fn(|i| left.data.wrapping_add(3 * i * left.row_stride));
                let mut right = right.cast::<f32>();
                // SAFETY: both sides have this many words; the output has `size` rows and columns.
                unsafe {
                    for k in 0..depth {
                        if left.fetch {
                            _mm_prefetch::<_MM_HINT_T0>(below(left, k));
                        }
                        let b: [__m512; WIDE] = std::array::from_fn(|j| _mm512_loadu_ps(right.add(j * LANES)));
                        for (i, sums) in sums.iter_mut().enumerate() {
                            let a = _mm512_set1_ps(*rows[i / 3].add(i % 3 * left.row_stride));
                            for (sum, b) in sums.iter_mut().zip(b) {
                                *sum = $step(*sum, a, b);
                            }
                        }
                        for row in &mut rows {
                            *row = row.wrapping_add(left.col_stride);
                        }
                        right = right.add(COLUMNS);
                    }
                    write(&sums, out, size);
                }
            }
        }
    };
}

/// Words of f32 along the inner dimension.
#[inline]
#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "loads through a pointer")]
unsafe fn single_along(from: *const f32, count: usize) -> __m512 {
    // SAFETY: as for `load`.
    unsafe { load(from, count) }
}

/// Words of f32 across it.
#[inline]
#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "loads through a pointer")]
unsafe fn single_across(from: *const f32, _: usize, lanes: __mmask16, _: usize) -> __m512 {
    // SAFETY: as for `load`.
    unsafe { _mm512_maskz_loadu_ps(lanes, from) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn single_step(sum: __m512, a: __m512, b: __m512) -> __m512 {
    _mm512_fmadd_ps(a, b, sum)
}

kernel!(single, "avx512f", 1, single_along, single_across, single_step);

use std::arch::x86_64::{
    __m512bh, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_permutexvar_epi16,
};

/// Takes a vector for one of bf16.
#[inline]
#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "there is no cast in the library")]
fn as_bf16(x: __m512) -> __m512bh {
    // SAFETY: both are 512 bits without a meaning of their own.
    unsafe { std::mem::transmute(x) }
}

#[inline]
#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "there is no cast in the library")]
fn as_words(x: __m512bh) -> __m512i {
    // SAFETY: as above.
    unsafe { std::mem::transmute(x) }
}

/// Pairs of bf16 along the inner dimension.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[expect(unsafe_code, reason = "loads through a pointer")]
unsafe fn pairs_along(from: *const f32, count: usize) -> __m512 {
    // SAFETY: as for `load`; nothing is read from the second address if nothing is there.
    let (low, high) = unsafe { (load(from, count), load(from.wrapping_add(LANES), count.saturating_sub(LANES))) };
    _mm512_castsi512_ps(as_words(_mm512_cvtne2ps_pbh(high, low)))
}

/// Pairs of bf16 across it: from one row and the next.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[expect(unsafe_code, reason = "loads through a pointer")]
unsafe fn pairs_across(from: *const f32, stride: usize, lanes: __mmask16, rows: usize) -> __m512 {
    /// Number i of the lower half, then number i of the upper half.
    static INTERLEAVE: [u16; 32] = {
        let mut order = [0; 32];
        let mut i = 0;
        while i < 32 {
            order[i] = (i / 2 + (i % 2) * 16) as u16;
            i += 1;
        }
        order
    };
    // SAFETY: as for `load`; nothing is read from the second address if there is no second row.
    unsafe {
        let low = _mm512_maskz_loadu_ps(lanes, from);
        let high = _mm512_maskz_loadu_ps(if rows > 1 { lanes } else { 0 }, from.wrapping_add(stride));
        let order = _mm512_loadu_si512(INTERLEAVE.as_ptr().cast());
        _mm512_castsi512_ps(_mm512_permutexvar_epi16(order, as_words(_mm512_cvtne2ps_pbh(high, low))))
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn pairs_step(sum: __m512, a: __m512, b: __m512) -> __m512 {
    _mm512_dpbf16_ps(sum, as_bf16(a), as_bf16(b))
}

kernel!(pairs, "avx512f,avx512bw,avx512bf16", 2, pairs_along, pairs_across, pairs_step);
