"""Two or more processes that execute train.py again and again without parting; no test itself.

To start a process costs more than a small run does. Run as a script with JSON, this is one of them.
"""

import json
import os
import pathlib
import sys
import time

import processes

# Only the first process of several finds what was compiled before, so the others should be quick.
QUICK = {"XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"}


def start(count, *runs, pause=0.0, **options):
    """`processes.start` of train.py with each of the argument lists `runs`, one after another.

    Args:
      pause: seconds that every step takes longer.
    """
    told = json.dumps({"runs": runs, "pause": pause})
    return processes.start(count, lambda i: [__file__, told], **QUICK, **options)


def written(group, index):
    """What in the workdirs process `index` has opened to write, as names in them."""
    (line,) = (x for x in group.out(index).splitlines() if x.startswith("written "))
    return set(json.loads(line.removeprefix("written ")))


def note_writing(folders):
    """A set that fills with the names of what in `folders` this process opens to write."""
    names = set()

    def note(event, details):
        if event != "open" or not isinstance(details[0], str):
            return
        _, mode, flags = details
        writes = set(mode) & set("wax+") if mode else flags & (os.O_WRONLY | os.O_RDWR)
        path = pathlib.Path(os.path.abspath(details[0]))
        for folder in folders if writes else ():
            if path.is_relative_to(folder):
                names.update(path.relative_to(folder).parts[:1])

    sys.addaudithook(note)
    return names


def slowed(function, seconds):
    """A function of iterators, whose items take `seconds` longer."""

    def slow(*args, **kwargs):
        for item in function(*args, **kwargs):
            time.sleep(seconds)
            yield item

    return slow


def execute(runs, pause):
    """Exit code of the first run that fails, else 0; parts from the other processes only then."""
    import train
    from aigc_jax import feed, launch

    part, launch.part = launch.part, lambda: None
    feed.training_items = slowed(feed.training_items, pause)
    for argv in runs:
        if code := train.main(argv):
            return code
    part()
    return 0


if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    words = (word for argv in told["runs"] for word in argv)
    names = note_writing([w.removeprefix("--workdir=") for w in words if w.startswith("--workdir")])
    code = execute(told["runs"], told["pause"])
    print("written " + json.dumps(sorted(names)), flush=True)
    sys.exit(code)
