"""Joins what bpfgate.v1.MapService/WatchCounters sends.

A series is told once, with its labels; batches name it by a number. Feed every message of a stream
to one Counters, and get samples that have their names:

    counters = Counters()
    for message in stub.WatchCounters(request):
        for sample in counters.take(message):
            print(sample.map, sample.labels, sample.field, sample.value)

Works with any messages of bpfgate.v1, generated or made by reflection. Needs nothing else.
"""

from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Series:
    """One counter: a map, a key as labels, a field of the value."""

    map: str
    labels: dict[str, str] = field(hash=False)
    field: str
    kind: int
    unit: str
    signed: bool
    bounds: tuple[int, ...]


@dataclass(frozen=True)
class Sample:
    """What a counter was when its map was read. A histogram has counts, others a value."""

    series: Series
    read_end: object
    value: int | None
    counts: tuple[int, ...] | None = None

    map = property(lambda self: self.series.map)
    labels = property(lambda self: self.series.labels)
    field = property(lambda self: self.series.field)


class Counters:
    """The series that a stream has told of."""

    def __init__(self):
        self.series = {}
        self.whole = False

    def take(self, message):
        """The samples of a message. Afterwards `whole` says whether the first snapshot is here."""
        kind = message.WhichOneof("message")
        if kind == "header":
            # The stream was opened anew: its numbers start anew.
            self.series.clear()
            self.whole = False
        elif kind == "series":
            self._add(message.series)
        elif kind == "removed":
            for ref in message.removed.refs:
                self.series.pop(ref, None)
        elif kind == "renamed":
            for ref, series in self.series.items():
                if series.map == message.renamed.to or series.map != getattr(message.renamed, "from"):
                    continue
                self.series[ref] = replace(series, map=message.renamed.to)
        elif kind == "sync":
            self.whole = True
        elif kind == "batch":
            return self._samples(message.batch)
        return []

    def _add(self, told):
        self.series[told.ref] = Series(
            map=told.map,
            labels={label.name: label.value for label in told.labels},
            field=told.field,
            kind=told.kind,
            unit=told.unit,
            signed=told.signed,
            bounds=tuple(told.bounds),
        )

    def _samples(self, batch):
        samples = []
        for ref, value in zip(batch.refs, batch.values):
            series = self.series[ref]
            if series.signed and value >= 1 << 63:
                value -= 1 << 64
            samples.append(Sample(series, batch.read_end, value))
        for histogram in batch.histograms:
            series = self.series[histogram.ref]
            samples.append(Sample(series, batch.read_end, None, tuple(histogram.counts)))
        return samples
