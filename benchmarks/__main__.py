"""``python -m benchmarks``: see :mod:`benchmarks.command`."""

if __name__ == "__main__":
    # Workers import this module under another name: not all of it.
    from benchmarks.command import main

    main()
