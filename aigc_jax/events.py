"""TensorBoard events, written where they are made: what fails raises at once, and nothing waits.

tensorboardX's own SummaryWriter hands events to a thread through a short queue. Where that thread
dies, of a full disk say, the queue fills up, and the next call never returns.
"""

import pathlib
import time
from collections.abc import Mapping
from typing import Any


class Events:
    """One event file, which hides what earlier files of the folder say of later steps."""

    def __init__(self, folder: pathlib.Path, resume_at: int):
        """Events are of steps after `resume_at`."""
        # Imported here: it takes as long as jax itself.
        from tensorboardX import event_file_writer, summary
        from tensorboardX.proto import event_pb2

        folder.mkdir(parents=True, exist_ok=True)
        suffix = f".from{resume_at}"  # two files of one second would share a name
        self._make, self._event = summary, event_pb2.Event
        self._file = event_file_writer.EventsWriter(str(folder / "events"), suffix)
        begins = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write(step=resume_at + 1, session_log=begins)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers by name."""
        for name, value in values.items():
            self._write(step=step, summary=self._make.scalar(name, value))
        self._file.flush()

    def image(self, step: int, name: str, image: Any) -> None:
        """A picture u8 [H, W, C]."""
        self._write(step=step, summary=self._make.image(name, image, dataformats="HWC"))
        self._file.flush()

    def text(self, step: int, name: str, text: str) -> None:
        """A text."""
        self._write(step=step, summary=self._make.text(name, text))
        self._file.flush()

    def close(self) -> None:
        """Lets go of the file."""
        self._file.close()

    def _write(self, **content: Any) -> None:
        self._file.write_event(self._event(wall_time=time.time(), **content))
