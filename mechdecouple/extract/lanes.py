"""Lanes: how rows come from the device to the host, and how long the device takes for its part.

On CUDA both are asked of the device and read later: the host goes on, and so does the device. Everywhere else a copy is
there, and a time is known, when the call returns.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor


class Mark(Protocol):
    """A place in the device's work."""

    def wait(self) -> None:
        """Returns when the device has come past it."""
        ...


class Clock(Protocol):
    """Runs from when it is made to :meth:`stop`."""

    def stop(self) -> None: ...

    def seconds(self) -> float:
        """Of the device, between the two."""
        ...


class Lane(Protocol):
    """The way from one device to the host.

    Attributes:
        pinned: host memory that is copied to has to be.
        behind: copies come behind the caller, who waits for their :class:`Mark`.
    """

    pinned: bool
    behind: bool

    def copy(self, pairs: Iterable[tuple[Tensor, Tensor]]) -> Mark:
        """Copies each first tensor, on the device, into the second, on the host; there when the mark is past."""
        ...

    def clock(self) -> Clock: ...


def lane(device: torch.device) -> Lane:
    """The lane of a device."""
    return CudaLane(device) if device.type == "cuda" else DirectLane(device)


class DirectLane:
    """Waits for each copy."""

    pinned = behind = False

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def copy(self, pairs: Iterable[tuple[Tensor, Tensor]]) -> Mark:
        for values, target in pairs:
            target.copy_(values)
        return _Past()

    def clock(self) -> Clock:
        return _DirectClock(self._device)


class _Past:
    def wait(self) -> None:
        pass


class _DirectClock:
    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._from = self._to = self._now()

    def stop(self) -> None:
        self._to = self._now()

    def seconds(self) -> float:
        return self._to - self._from

    def _now(self) -> float:
        if self._device.type != "cpu":
            getattr(torch, self._device.type).synchronize()
        return time.perf_counter()


class CudaLane:
    """Copies on a stream of its own, so that the next batch is computed while rows travel."""

    pinned = behind = True

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def copy(self, pairs: Iterable[tuple[Tensor, Tensor]]) -> Mark:
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            for values, target in pairs:
                target.copy_(values, non_blocking=True)
                # Its memory is not given to another tensor before the copy has read it.
                values.record_stream(self._stream)
        return _CudaMark(self._stream)

    def clock(self) -> Clock:
        return _CudaClock(self._device)


class _CudaMark:
    def __init__(self, stream: torch.cuda.Stream) -> None:
        self._event = torch.cuda.Event()
        self._event.record(stream)

    def wait(self) -> None:
        self._event.synchronize()


class _CudaClock:
    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.current_stream(device)
        self._from, self._to = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self._from.record(self._stream)

    def stop(self) -> None:
        self._to.record(self._stream)

    def seconds(self) -> float:
        self._to.synchronize()
        return self._from.elapsed_time(self._to) / 1000
