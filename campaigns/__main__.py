"""``python -m campaigns``: see :mod:`campaigns.command`."""

if __name__ == "__main__":
    # Children import this module under another name: not all of it.
    from campaigns.command import main

    main()
