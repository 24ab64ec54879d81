"""``python -m campaigns``: see :mod:`campaigns.command`."""

if __name__ == "__main__":
    import signal

    # Children import this module under another name: not all of it.
    from campaigns.command import main

    # What is running ends with this process, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main()
