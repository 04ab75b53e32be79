//! Packing and multiplying for AVX-512: f32, and pairs of bf16.

use std::arch::x86_64::{
    __m512, __m512i, __mmask16, _MM_HINT_T0, _mm_prefetch, _mm_storeu_ps, _mm256_storeu_ps, _mm512_castpd_ps,
    _mm512_castps_pd, _mm512_castps512_ps256, _mm512_castsi512_ps, _mm512_extractf32x4_ps, _mm512_fmadd_ps,
    _mm512_loadu_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_mul_ps, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_shuffle_f32x4, _mm512_storeu_ps, _mm512_unpackhi_pd, _mm512_unpackhi_ps, _mm512_unpacklo_pd,
    _mm512_unpacklo_ps,
};

use super::{COLUMNS, Left, Mat, MatMut, Output, ROWS};

/// Words in a vector.
const LANES: usize = 16;
/// Vectors side by side in a tile.
const WIDE: usize = COLUMNS / LANES;
type Sums = [[__m512; WIDE]; ROWS];

/// The first `count` lanes.
fn lanes(count: usize) -> __mmask16 {
    ((1u32 << count.min(LANES)) - 1) as u16
}

/// The numbers of the lanes that the mask has; the others are zero.
///
/// # Safety
/// `from` and the 15 numbers after it can be read where the mask has their lanes.
#[inline]
#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "loads through a pointer")]
unsafe fn load(from: *const f32, mask: __mmask16) -> __m512 {
    // SAFETY: as this function's; what the mask leaves out is not read.
    unsafe { _mm512_maskz_loadu_ps(mask, from) }
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
fn fetch(out: &mut Output<'_>) {
    let mut line = out.first().cast_const();
    for _ in 0..out.rows() {
        _mm_prefetch::<_MM_HINT_T0>(line.cast());
        _mm_prefetch::<_MM_HINT_T0>(line.wrapping_add(LANES).cast());
        line = line.wrapping_add(out.stride());
    }
}

/// Writes a tile.
#[inline]
#[target_feature(enable = "avx512f")]
fn write(sums: &Sums, out: &mut Output<'_>) {
    let (first, stride, cols) = (out.first(), out.stride(), out.cols());
    let alpha = _mm512_set1_ps(out.alpha());
    for (r, sums) in sums.iter().enumerate() {
        if r >= out.rows() {
            break;
        }
        for (j, sum) in sums.iter().enumerate() {
            let to = first.wrapping_add(r * stride + j * LANES);
            let mask = lanes(cols.saturating_sub(j * LANES));
            let value = if out.adds() {
                // SAFETY: the row is the output's, the mask leaves out what are not its columns, and an output that adds
                // has been written.
                #[expect(unsafe_code, reason = "loads through a pointer")]
                let before = unsafe { load(to, mask) };
                _mm512_fmadd_ps(alpha, *sum, before)
            } else {
                _mm512_mul_ps(alpha, *sum)
            };
            // SAFETY: the row is the output's, and the mask leaves out what are not its columns.
            #[expect(unsafe_code, reason = "stores through a pointer")]
            unsafe {
                _mm512_mask_storeu_ps(to, mask, value);
            }
        }
    }
}

/// Writes the words of a panel's row from its `from`-th on. In whole parts, which processors are faster at than with masks.
///
/// # Safety
/// `to` has room for a row of `WIDTH` words, and `from` is one of 0, `LANES`, ... below `WIDTH`.
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
    let to = to.wrapping_add(from);
    if WIDTH - from >= LANES {
        // SAFETY: a row has 16 words from here on.
        unsafe { _mm512_storeu_ps(to, words) };
        return;
    }
    let (eight, four) = (_mm512_castps512_ps256(words), _mm512_extractf32x4_ps::<2>(words));
    // SAFETY: a row has 12 words from here on: these are the first 8 ...
    unsafe { _mm256_storeu_ps(to, eight) };
    // SAFETY: ... and these the other 4.
    unsafe { _mm_storeu_ps(to.wrapping_add(8), four) };
}

/// Where the `k`-th word of the tile below is, or, if words lie along the inner dimension, one line of those near it.
#[inline]
fn below(left: Left<'_>, k: usize) -> *const i8 {
    let (row, k) =
        if left.col_stride == 1 { (ROWS + (k % LANES).min(ROWS - 1), k - k % LANES) } else { (2 * ROWS - 1, k) };
    left.data.as_ptr().wrapping_add(row * left.row_stride + k * left.col_stride).cast()
}

/// Packing and multiplying for one kind of numbers. `$along` makes words of numbers that lie along the inner dimension,
/// `$across` of numbers that lie across it; `$step` adds the product of a word of each side to the sums.
macro_rules! kernel {
    ($name:ident, $features:literal, $per_word:literal, $along:path, $across:path, $step:path) => {
        pub(in super::super) mod $name {
            use super::*;

            /// Rows of `mat` into panels of `[depth, WIDTH]` words, the rows of `to`; what is missing is zero.
            #[target_feature(enable = $features)]
            pub(in super::super) fn pack<const WIDTH: usize>(mat: Mat<'_>, mut to: MatMut<'_>) {
                let (panels, depth) = (mat.height().div_ceil(WIDTH), mat.width().div_ceil($per_word));
                assert!(to.rows() == panels && to.cols() == depth * WIDTH, "panels of the size of what is packed");
                if mat.col_stride() == 1 {
                    pack_along::<WIDTH>(mat, &mut to, depth);
                } else {
                    pack_across::<WIDTH>(mat, &mut to, depth);
                }
            }

            /// Where numbers lie along the inner dimension. `to` has the size of what is packed.
            #[inline]
            #[target_feature(enable = $features)]
            fn pack_along<const WIDTH: usize>(mat: Mat<'_>, to: &mut MatMut<'_>, depth: usize) {
                let (from, row_stride) = (mat.data().as_ptr(), mat.row_stride());
                for (p, l) in (0..to.rows()).flat_map(|p| (0..WIDTH).step_by(LANES).map(move |l| (p, l))) {
                    let first = p * WIDTH + l;
                    let rows = mat.height().saturating_sub(first).min(WIDTH - l).min(LANES);
                    let from = from.wrapping_add(first * row_stride);
                    let to = to.first().wrapping_add(p * to.stride());
                    for at in (0..depth).step_by(LANES) {
                        let from = from.wrapping_add(at * $per_word);
                        let mut words = [_mm512_setzero_ps(); LANES];
                        for (i, words) in words.iter_mut().enumerate() {
                            if i < rows {
                                // SAFETY: the matrix has the row `first + i` and this many columns from here on.
                                #[expect(unsafe_code, reason = "loads through a pointer")]
                                unsafe {
                                    *words = $along(from.wrapping_add(i * row_stride), mat.width() - at * $per_word);
                                }
                            }
                        }
                        for (i, words) in transpose(&words).iter().enumerate() {
                            if i < depth - at {
                                // SAFETY: the panel has `depth` rows of `WIDTH` words.
                                #[expect(unsafe_code, reason = "stores through a pointer")]
                                unsafe {
                                    store::<WIDTH>(to.wrapping_add((at + i) * WIDTH), l, *words);
                                }
                            }
                        }
                    }
                }
            }

            /// Where numbers lie across the inner dimension. `to` has the size of what is packed.
            #[inline]
            #[target_feature(enable = $features)]
            fn pack_across<const WIDTH: usize>(mat: Mat<'_>, to: &mut MatMut<'_>, depth: usize) {
                assert_eq!(mat.row_stride(), 1, "one of a matrix's strides is 1");
                let (whole, stride) = (mat.height() / WIDTH, mat.col_stride());
                for at in 0..depth {
                    let from = mat.data().as_ptr().wrapping_add(at * $per_word * stride);
                    let rest = mat.width() - at * $per_word;
                    for p in 0..to.rows() {
                        let to = to.first().wrapping_add(p * to.stride() + at * WIDTH);
                        for l in (0..WIDTH).step_by(LANES) {
                            let first = p * WIDTH + l;
                            let all = lanes(WIDTH - l);
                            let mask = if p < whole { all } else { all & lanes(mat.height().saturating_sub(first)) };
                            // SAFETY: the matrix has this many columns from here on, and in each the rows that the mask
                            // has.
                            #[expect(unsafe_code, reason = "loads through a pointer")]
                            let words = unsafe { $across(from.wrapping_add(first), stride, mask, rest) };
                            // SAFETY: the panel has `depth` rows of `WIDTH` words.
                            #[expect(unsafe_code, reason = "stores through a pointer")]
                            unsafe {
                                store::<WIDTH>(to, l, words);
                            }
                        }
                    }
                }
            }

            /// The product of `ROWS` rows and a panel of `[depth, COLUMNS]` words.
            #[target_feature(enable = $features)]
            pub(in super::super) fn tile(left: Left<'_>, right: &[[f32; COLUMNS]], mut out: Output<'_>) {
                let along = right.len().saturating_sub(1).saturating_mul(left.col_stride);
                let last = left.row_stride.saturating_mul(ROWS - 1).saturating_add(along);
                assert!(last < left.data.len(), "a tile reaches past its rows");
                assert!(out.rows() <= ROWS && out.cols() <= COLUMNS, "an output of the size of a tile");
                fetch(&mut out);
                let mut sums: Sums = [[_mm512_setzero_ps(); WIDE]; ROWS];
                // Every third row: an address reaches two more by adding the stride once or twice.
                let mut rows: [*const f32; ROWS / 3] =
                    std::array::from_fn(|i| left.data.as_ptr().wrapping_add(3 * i * left.row_stride));
                for (k, right) in right.iter().enumerate() {
                    if left.fetch {
                        _mm_prefetch::<_MM_HINT_T0>(below(left, k));
                    }
                    let right = right.as_chunks::<LANES>().0;
                    let b: [__m512; WIDE] = std::array::from_fn(|j| {
                        // SAFETY: it is an array of 16 words.
                        #[expect(unsafe_code, reason = "loads through a pointer")]
                        unsafe {
                            _mm512_loadu_ps(right[j].as_ptr())
                        }
                    });
                    for (i, sums) in sums.iter_mut().enumerate() {
                        let word = rows[i / 3].wrapping_add(i % 3 * left.row_stride);
                        // SAFETY: word `k` of row `i`, none of which is past the last one, which was checked.
                        #[expect(unsafe_code, reason = "reads through a pointer")]
                        let a = _mm512_set1_ps(unsafe { *word });
                        for (sum, b) in sums.iter_mut().zip(b) {
                            *sum = $step(*sum, a, b);
                        }
                    }
                    for row in &mut rows {
                        *row = row.wrapping_add(left.col_stride);
                    }
                }
                write(&sums, &mut out);
            }
        }
    };
}

/// Words of f32 along the inner dimension; those that are missing are zero.
///
/// # Safety
/// `count` numbers, or 16 if there are more, can be read at `from`.
#[inline]
#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "loads through a pointer")]
unsafe fn single_along(from: *const f32, count: usize) -> __m512 {
    // SAFETY: as this function's.
    unsafe { load(from, lanes(count)) }
}

/// Words of f32 across it.
///
/// # Safety
/// As for [`load`].
#[inline]
#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "loads through a pointer")]
unsafe fn single_across(from: *const f32, _: usize, mask: __mmask16, _: usize) -> __m512 {
    // SAFETY: as this function's.
    unsafe { load(from, mask) }
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
    // SAFETY: both are 512 bits, each of which may be 0 or 1.
    unsafe { std::mem::transmute(x) }
}

#[inline]
#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "there is no cast in the library")]
fn as_words(x: __m512bh) -> __m512i {
    // SAFETY: both are 512 bits, each of which may be 0 or 1.
    unsafe { std::mem::transmute(x) }
}

/// Pairs of bf16 along the inner dimension; what is missing is zero.
///
/// # Safety
/// `count` numbers, or 32 if there are more, can be read at `from`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[expect(unsafe_code, reason = "loads through a pointer")]
unsafe fn pairs_along(from: *const f32, count: usize) -> __m512 {
    // SAFETY: as this function's.
    let low = unsafe { load(from, lanes(count)) };
    // SAFETY: the mask has as many lanes as there are numbers after the first 16.
    let high = unsafe { load(from.wrapping_add(LANES), lanes(count.saturating_sub(LANES))) };
    _mm512_castsi512_ps(as_words(_mm512_cvtne2ps_pbh(high, low)))
}

/// Pairs of bf16 across it: from one row and the next, which is zero if it is missing.
///
/// # Safety
/// `from` can be read where the mask has lanes, and, if there is more than one row, so can `from` + `stride`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[expect(unsafe_code, reason = "loads through a pointer")]
unsafe fn pairs_across(from: *const f32, stride: usize, mask: __mmask16, rows: usize) -> __m512 {
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
    // SAFETY: as this function's.
    let low = unsafe { load(from, mask) };
    // SAFETY: the mask is empty if there is no second row.
    let high = unsafe { load(from.wrapping_add(stride), if rows > 1 { mask } else { 0 }) };
    // SAFETY: it is an array of 512 bits.
    let order = unsafe { _mm512_loadu_si512(INTERLEAVE.as_ptr().cast()) };
    _mm512_castsi512_ps(_mm512_permutexvar_epi16(order, as_words(_mm512_cvtne2ps_pbh(high, low))))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn pairs_step(sum: __m512, a: __m512, b: __m512) -> __m512 {
    _mm512_dpbf16_ps(sum, as_bf16(a), as_bf16(b))
}

kernel!(pairs, "avx512f,avx512bw,avx512bf16", 2, pairs_along, pairs_across, pairs_step);
