"""Windows over long streams, for truncated backpropagation through time; needs NumPy alone."""

import numbers
from typing import Any, NamedTuple

import numpy as np

from rnnjax import _checks
from rnnjax._typing import Array
from rnnjax.data.batch import Batch
from rnnjax.data.batches import Batches, check_index, check_order, generator
from rnnjax.data.checks import check_numbers
from rnnjax.data.ragged import check_sequences


def windows(
    stream: Array | np.ndarray | list,
    targets: Array | np.ndarray | list | None = None,
    *,
    batch_size: int,
    num_steps: int,
    shuffle: bool = True,
    seed: int = 0,
) -> "Windows":
    """Cut a long stream into windows that go on from batch to batch.

    The stream is cut into `batch_size` parts of equal length (or one less), read side by side:
    row b of each batch has the next `num_steps` steps of part b. The carry is handed on from
    batch to batch, and `resets` are True where a document begins, and where an epoch does.

    Every step comes once an epoch, and nothing is left out: where the parts are no whole number
    of windows, batches have lengths, and the last ones of an epoch are shorter than T. What stands
    beyond a length has no meaning. All batches have the same shape and the same arrays.

    With `shuffle`, an epoch lays the documents in an order of its own, and then begins anywhere:
    what comes before that place follows at the end. So windows and parts are cut elsewhere in
    each epoch, also where there is but one document.

    Args:
        stream: what is read: tokens `(N,)`, steps `(N, D)` or of more axes, or a list of such
            documents, which are laid end to end.
        targets: what is to be said at each step, `(N, ...)`, in a list for documents; None means
            the next element of the document, as in language models. Then N elements make N - 1
            steps, and no step leads from one document to another.
        batch_size: parts that are read side by side, B.
        num_steps: steps of a window, T.
        shuffle: as above; False reads from the start, and is right for validation.
        seed: of the order.

    Returns:
        `Windows`: `data[i]` is a `Batch` of NumPy arrays with resets.

    Raises:
        TypeError: for an argument of the wrong kind or dtype.
        ValueError: for a stream of fewer than `batch_size` steps, documents of unequal features,
            targets of another length, `batch_size` or `num_steps` below 1, a negative `seed`.

    Example:
        >>> import numpy as np
        >>> data = windows(np.arange(8), batch_size=2, num_steps=2, shuffle=False)
        >>> list(batch.xs.tolist() for batch in data)
        [[[0, 1], [3, 4]], [[2, 3], [5, 6]]]
        >>> data[1].targets.tolist(), data[1].lengths.tolist(), data[0].resets.tolist()
        ([[3, 4], [6, 7]], [1, 2], [[True, False], [True, False]])

    Reference: Merity, Keskar & Socher, *Regularizing and optimizing LSTM language models* (2018),
    section 5, for windows that are cut elsewhere in each epoch.
    """
    function = "windows"
    documents = check_documents(function, stream)
    batch_size = _checks.size(function, "batch_size", batch_size)
    num_steps = _checks.size(function, "num_steps", num_steps)
    check_order(function, shuffle, seed)
    said = check_targets(function, stream, targets, documents)
    lengths = np.array([len(document) for document in documents])
    steps = lengths if said is not None else np.maximum(lengths - 1, 0)
    if steps.sum() < batch_size:
        wanted = f"have at least {batch_size} steps, one for each row"
        way_out = "give a longer stream or a smaller batch_size"
        _checks.refuse(function, "stream", wanted, int(steps.sum()), way_out)
    text = Text(
        xs=np.concatenate(documents) if len(documents) > 1 else documents[0],
        targets=None if said is None else np.concatenate(said) if len(said) > 1 else said[0],
        first=lengths.cumsum() - lengths,
        steps=steps,
    )
    return Windows(text, batch_size, num_steps, seed=seed if shuffle else None)


class Text(NamedTuple):
    """Documents laid end to end.

    Attributes:
        xs: their elements, `(N, ...)`.
        targets: `(N, ...)`; None means the next elements.
        first: where each document begins in `xs`.
        steps: how many steps it has.
    """

    xs: np.ndarray
    targets: np.ndarray | None
    first: np.ndarray
    steps: np.ndarray


class Layout(NamedTuple):
    """How one epoch lays the documents.

    Attributes:
        first: where each document begins in the stream, in the epoch's order.
        begin: which step of the epoch's circle that is.
        offset: the step of the circle that the epoch begins with.
    """

    first: np.ndarray
    begin: np.ndarray
    offset: int


class Windows(Batches):
    """Batches of windows that go on from batch to batch, made by `windows`."""

    continues = True

    def __init__(self, text: Text, batch_size: int, num_steps: int, *, seed: int | None):
        self._text, self._num_steps, self._seed = text, num_steps, seed
        self._total = int(text.steps.sum())
        ends = self._total * np.arange(batch_size + 1) // batch_size
        self._start, self._end = ends[:-1], ends[1:]
        self._even = self._total % (batch_size * num_steps) == 0
        self._known: tuple[int, Layout] | None = None  # of the epoch that was read last

    def __repr__(self) -> str:
        shape = len(self._start), self._num_steps
        return f"Windows({self._total} steps, {len(self)} batches of {shape})"

    def __len__(self) -> int:
        return -(-int((self._end - self._start).max()) // self._num_steps)

    def __getitem__(self, index: int) -> Batch:
        layout, window, lengths = self._place(index)
        source, begins = self._source(layout, window)
        valid = np.arange(self._num_steps) < lengths[:, None]
        begins[:, 0] |= window == 0
        text = self._text
        following = text.targets is None
        said = text.xs if text.targets is None else text.targets
        return Batch(
            xs=text.xs.take(source, axis=0),
            targets=said.take(source + following, axis=0),
            lengths=None if self._even else lengths,
            resets=begins & valid,
        )

    def rows_of(self, index: int) -> np.ndarray:
        """Where in the stream each row of batch `index` begins, `(B,)`; -1 for an empty row.

        Documents count end to end, as they were given.
        """
        layout, window, lengths = self._place(index)
        source, _ = self._source(layout, window)
        return np.where(lengths > 0, source[:, 0], -1)

    def _place(self, index: int) -> tuple[Layout, int, np.ndarray]:
        """The layout of a batch's epoch, its window, and its lengths."""
        epoch, window = divmod(check_index(self, index), len(self))
        left = self._end - self._start - window * self._num_steps
        return self._layout(epoch), window, left.clip(0, self._num_steps).astype(np.int32)

    def _source(self, layout: Layout, window: int) -> tuple[np.ndarray, np.ndarray]:
        """Where in the stream a window reads, `(B, T)`, and where documents begin in it."""
        steps = window * self._num_steps + np.arange(self._num_steps)
        place = (self._start[:, None] + steps + layout.offset) % self._total
        # Of documents that begin at one step, the last has steps.
        document = np.searchsorted(layout.begin, place, side="right") - 1
        inside = place - layout.begin[document]
        return layout.first[document] + inside, inside == 0

    def _layout(self, epoch: int) -> Layout:
        """How an epoch lays the documents: as they are, or by its own order and offset."""
        if self._known is not None and self._known[0] == epoch:
            return self._known[1]
        order, offset = np.arange(len(self._text.steps)), 0
        if self._seed is not None:
            random = generator(self._seed, epoch)
            order, offset = random.permutation(order), int(random.integers(self._total))
        steps = self._text.steps[order]
        layout = Layout(self._text.first[order], steps.cumsum() - steps, offset)
        self._known = epoch, layout
        return layout


def check_documents(function: str, stream: Any) -> list[np.ndarray]:
    """A list of documents; one array is one document."""
    if hasattr(stream, "shape"):
        if len(stream.shape) == 0:
            way_out = "time comes first"
            _checks.refuse(function, "stream", "have shape (N, ...)", stream.shape, way_out)
        check_numbers(function, "stream", stream)
        stream = [stream]
    listed = isinstance(stream, list | tuple)
    if not listed or (stream and isinstance(stream[0], numbers.Number)):
        wanted, got = "be an array or a list of arrays", _checks.kind(stream)
        way_out = "wrap numbers in np.asarray; a list has one array per document"
        _checks.refuse(function, "stream", wanted, got, way_out, error=TypeError)
    return check_sequences(function, "stream", stream)


def check_targets(
    function: str, stream: Any, targets: Any, documents: list[np.ndarray]
) -> list[np.ndarray] | None:
    """Targets in documents like the stream's; None stays None."""
    if targets is None:
        return None
    whole = hasattr(stream, "shape")
    if hasattr(targets, "shape") != whole or not (whole or isinstance(targets, list | tuple)):
        wanted = "be an array, as the stream" if whole else "be a list of arrays, as the stream"
        got, way_out = _checks.kind(targets), "every element has its target"
        _checks.refuse(function, "targets", wanted, got, way_out, error=TypeError)
    if whole:
        check_numbers(function, "targets", targets)
    said = check_sequences(function, "targets", [targets] if whole else targets)
    if len(said) != len(documents):
        wanted = f"have {len(documents)} documents, as the stream"
        way_out = "every document has its targets"
        _checks.refuse(function, "targets", wanted, len(said), way_out)
    for place, (values, document) in enumerate(zip(said, documents, strict=True)):
        if len(values) != len(document):
            name, wanted = f"targets[{place}]", f"have {len(document)} steps, as the stream"
            way_out = "every element has its target"
            _checks.refuse(function, "targets" if whole else name, wanted, len(values), way_out)
    return said
