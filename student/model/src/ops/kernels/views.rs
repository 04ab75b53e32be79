//! Strided views of f32: matrices that are read, and parts of outputs that are written.
//!
//! Kernels reach numbers through pointers. What makes that sound is checked here, once, when a view is made or taken apart:
//! a view never reaches past its numbers, and two views that can be written at the same time never share one.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Numbers from the first to the last of a view; `None` if that is more than memory can hold.
fn reach(rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> Option<usize> {
    if rows == 0 || cols == 0 {
        return Some(0);
    }
    let (down, across) = ((rows - 1).checked_mul(row_stride)?, (cols - 1).checked_mul(col_stride)?);
    down.checked_add(across)?.checked_add(1)
}

/// A read-only matrix: element (r, c) is `data[r * row_stride + c * col_stride]`, which exists for each r < rows and c < cols.
#[derive(Clone, Copy)]
pub(crate) struct Mat<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Mat<'a> {
    /// Rows one after another.
    pub(crate) fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// Rows `row_stride` apart.
    pub(crate) fn strided(data: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        let fits = reach(rows, cols, row_stride, 1).is_some_and(|reach| reach <= data.len());
        assert!(fits, "a matrix reaches past its data");
        Self { data, rows, cols, row_stride, col_stride: 1 }
    }

    /// The transpose, without a copy.
    pub(crate) fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }

    /// Some of the columns.
    pub(super) fn columns(self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.cols, "columns of a matrix reach past it");
        Self { data: &self.data[range.start * self.col_stride..], cols: range.len(), ..self }
    }

    /// Some of the rows.
    pub(super) fn rows(self, range: Range<usize>) -> Self {
        self.t().columns(range).t()
    }

    /// The same view of other numbers.
    pub(super) fn of(self, data: &'a [f32]) -> Self {
        assert!(data.len() >= self.data.len(), "a matrix reaches past its data");
        Self { data, ..self }
    }

    /// The numbers, column after column.
    pub(super) fn column_major(&self) -> Vec<f32> {
        let at = |row: usize, col: usize| self.data[row * self.row_stride + col * self.col_stride];
        (0..self.cols).flat_map(|col| (0..self.rows).map(move |row| at(row, col))).collect()
    }

    pub(super) fn height(&self) -> usize {
        self.rows
    }

    pub(super) fn width(&self) -> usize {
        self.cols
    }

    pub(super) fn row_stride(&self) -> usize {
        self.row_stride
    }

    pub(super) fn col_stride(&self) -> usize {
        self.col_stride
    }

    /// The numbers from element (0, 0) on.
    pub(super) fn data(&self) -> &'a [f32] {
        self.data
    }
}

/// Rows `stride` apart that one task writes: as exclusive as a `&mut [f32]`, of which it holds only some columns. It can be
/// taken apart into views that share no number, and it never reaches past what it was made of.
pub(super) struct MatMut<'a> {
    first: *mut f32,
    rows: usize,
    cols: usize,
    stride: usize,
    numbers: PhantomData<&'a mut [f32]>,
}

// SAFETY: it stands for a `&mut` of its own numbers, which is `Send`: no other view can reach them while it lives.
#[expect(unsafe_code, reason = "a pointer is not Send by itself")]
unsafe impl Send for MatMut<'_> {}

impl<'a> MatMut<'a> {
    /// Rows `stride` apart, from the first number on.
    pub(super) fn new(data: &'a mut [f32], rows: usize, cols: usize, stride: usize) -> Self {
        Self::checked(data.as_mut_ptr(), data.len(), rows, cols, stride)
    }

    fn checked(first: *mut f32, len: usize, rows: usize, cols: usize, stride: usize) -> Self {
        let fits = reach(rows, cols, stride, 1).is_some_and(|reach| reach <= len);
        assert!(fits && (rows <= 1 || stride >= cols), "an output reaches past its data");
        Self { first, rows, cols, stride, numbers: PhantomData }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn cols(&self) -> usize {
        self.cols
    }

    pub(super) fn stride(&self) -> usize {
        self.stride
    }

    /// Where element (0, 0) is. Element (r, c) is `r * stride + c` further for each r < rows and c < cols, and it is this
    /// view's alone as long as the view lives.
    pub(super) fn first(&mut self) -> *mut f32 {
        self.first
    }

    /// A part that is lent: nothing else of this view can be reached meanwhile.
    pub(super) fn part(&mut self, rows: Range<usize>, cols: Range<usize>) -> MatMut<'_> {
        assert!(rows.start <= rows.end && rows.end <= self.rows, "rows of a part reach past the output");
        assert!(cols.start <= cols.end && cols.end <= self.cols, "columns of a part reach past the output");
        let first = self.first.wrapping_add(rows.start * self.stride + cols.start);
        MatMut { first, rows: rows.len(), cols: cols.len(), stride: self.stride, numbers: PhantomData }
    }

    /// Takes the first rows away.
    pub(super) fn take_rows(&mut self, count: usize) -> Self {
        assert!(count <= self.rows, "rows of a part reach past the output");
        let part = Self { rows: count, ..*self };
        self.first = self.first.wrapping_add(count * self.stride);
        self.rows -= count;
        part
    }

    /// Takes the first columns away.
    pub(super) fn take_columns(&mut self, count: usize) -> Self {
        assert!(count <= self.cols, "columns of a part reach past the output");
        let part = Self { cols: count, ..*self };
        self.first = self.first.wrapping_add(count);
        self.cols -= count;
        part
    }
}

/// What to do with what the output holds already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    Overwrite,
    Add,
}

/// Where a product goes: `to = alpha · a · b`, or `to += alpha · a · b`. Every number of it is initialised if it `adds`.
pub(super) struct Output<'a> {
    to: MatMut<'a>,
    adds: bool,
    alpha: f32,
}

impl<'a> Output<'a> {
    /// Rows `stride` apart.
    pub(super) fn new(data: &'a mut [f32], [rows, cols]: [usize; 2], stride: usize, mode: Store, alpha: f32) -> Self {
        Self { to: MatMut::new(data, rows, cols, stride), adds: mode == Store::Add, alpha }
    }

    /// Rows one after another, in memory that holds no numbers yet.
    pub(super) fn unwritten(data: &'a mut [MaybeUninit<f32>], [rows, cols]: [usize; 2]) -> Self {
        let to = MatMut::checked(data.as_mut_ptr().cast(), data.len(), rows, cols, cols);
        Self { to, adds: false, alpha: 1.0 }
    }

    /// From now on products are added.
    ///
    /// # Safety
    /// Every number of this output has been written.
    #[expect(unsafe_code, reason = "adding reads memory that may have held nothing")]
    pub(super) unsafe fn add_from_now_on(&mut self) {
        self.adds = true;
    }

    pub(super) fn adds(&self) -> bool {
        self.adds
    }

    pub(super) fn alpha(&self) -> f32 {
        self.alpha
    }

    pub(super) fn rows(&self) -> usize {
        self.to.rows
    }

    pub(super) fn cols(&self) -> usize {
        self.to.cols
    }

    pub(super) fn stride(&self) -> usize {
        self.to.stride
    }

    /// As [`MatMut::first`].
    pub(super) fn first(&mut self) -> *mut f32 {
        self.to.first()
    }

    /// As [`MatMut::part`].
    pub(super) fn part(&mut self, rows: Range<usize>, cols: Range<usize>) -> Output<'_> {
        Output { to: self.to.part(rows, cols), adds: self.adds, alpha: self.alpha }
    }

    /// Takes the whole apart: blocks of columns from left to right, and each from top to bottom. Heights and widths are
    /// those of the parts; what they leave over is left out.
    pub(super) fn grid(
        mut self,
        heights: impl Iterator<Item = usize> + Clone,
        widths: impl Iterator<Item = usize>,
    ) -> impl Iterator<Item = Self> {
        let (adds, alpha) = (self.adds, self.alpha);
        widths.flat_map(move |width| {
            let mut block = self.to.take_columns(width);
            heights.clone().map(move |height| Self { to: block.take_rows(height), adds, alpha })
        })
    }
}

/// That sizes fit each other, which every product begins with.
pub(super) fn check(out: &Output<'_>, a: Mat<'_>, b: Mat<'_>) {
    assert_eq!(a.width(), b.height(), "inner dimensions of a matrix product");
    assert_eq!([out.rows(), out.cols()], [a.height(), b.width()], "rows and columns of a matrix product");
}

/// The `i`-th of `parts` ranges that make up `all`.
pub(super) fn even(i: usize, parts: usize, all: usize) -> Range<usize> {
    i * all / parts..(i + 1) * all / parts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a number into every element of a view, as kernels do.
    fn fill(view: &mut MatMut<'_>, value: f32) {
        let (first, stride) = (view.first(), view.stride());
        for at in (0..view.rows()).flat_map(|r| (0..view.cols()).map(move |c| r * stride + c)) {
            // SAFETY: the row and the column are the view's.
            #[expect(unsafe_code, reason = "what a kernel does")]
            unsafe {
                first.wrapping_add(at).write(value);
            }
        }
    }

    fn panics(work: impl FnOnce()) -> bool {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err()
    }

    /// 3 rows of 4 columns, 5 apart: each number is written by one part, and those between the rows by none.
    #[test]
    fn the_parts_of_a_grid_share_no_number_and_leave_none_out() {
        let mut data = vec![0.0; 14];
        let output = Output::new(&mut data, [3, 4], 5, Store::Overwrite, 1.0);
        let parts: Vec<_> = output.grid([2, 1].into_iter(), [1, 3].into_iter()).collect();
        assert_eq!(parts.len(), 4);
        for (value, mut part) in (1..).zip(parts) {
            fill(&mut part.to, value as f32);
        }
        assert_eq!(data, [1., 3., 3., 3., 0., 1., 3., 3., 3., 0., 2., 4., 4., 4.]);
        let mut whole = MatMut::new(&mut data, 3, 4, 5);
        fill(&mut whole.part(1..2, 2..4), 9.0);
        fill(&mut whole.part(2..3, 0..1), 8.0);
        assert_eq!(data, [1., 3., 3., 3., 0., 1., 3., 9., 9., 0., 8., 4., 4., 4.]);
    }

    #[test]
    fn a_part_that_is_out_of_bounds_panics() {
        let mut data = vec![0.0; 14];
        let mut view = MatMut::new(&mut data, 3, 4, 5);
        assert!(panics(|| _ = view.part(0..4, 0..4)));
        assert!(panics(|| _ = view.part(0..3, 1..5)));
        let reversed = Range { start: 2, end: 1 };
        assert!(panics(|| _ = view.part(reversed, 0..4)));
        assert!(panics(|| _ = view.take_rows(4)));
        assert!(panics(|| _ = view.take_columns(5)));
        let _ = (view.take_rows(2), view.take_columns(3));
        assert_eq!((view.rows(), view.cols()), (1, 1));
        assert!(panics(|| _ = view.part(0..2, 0..1)));
        assert!(panics(|| _ = view.take_rows(2)));
        let output = Output::new(&mut data, [3, 4], 5, Store::Overwrite, 1.0);
        assert!(panics(|| output.grid([2, 2].into_iter(), [4].into_iter()).for_each(drop)));
    }

    #[test]
    fn a_view_past_its_numbers_is_not_made() {
        let mut data = vec![0.0; 14];
        assert!(panics(|| _ = MatMut::new(&mut data, 3, 5, 5)));
        assert!(panics(|| _ = MatMut::new(&mut data, 4, 1, 5)));
        // Rows that overlap would be two views of one number.
        assert!(panics(|| _ = MatMut::new(&mut data, 3, 4, 3)));
        assert!(panics(|| _ = MatMut::new(&mut data, usize::MAX, 2, usize::MAX)));
        assert!(panics(|| _ = Output::unwritten(&mut [MaybeUninit::uninit(); 5], [2, 3])));
        let numbers = vec![0.0; 14];
        assert!(panics(|| _ = Mat::strided(&numbers, 3, 5, 5)));
        assert!(panics(|| _ = Mat::strided(&numbers, usize::MAX, 2, usize::MAX).t()));
        let view = Mat::strided(&numbers, 3, 4, 5);
        assert!(panics(|| _ = view.rows(1..4)));
        assert!(panics(|| _ = view.columns(2..5)));
        assert!(panics(|| _ = view.t().columns(1..4)));
        assert!(panics(|| _ = view.of(&numbers[1..])));
        assert_eq!((view.rows(1..3).height(), view.columns(2..4).width()), (2, 2));
    }
}
