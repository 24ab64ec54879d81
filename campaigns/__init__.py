"""What the cache survives: campaigns against real servers and processes.

One module for each campaign.  It says in its first lines what is done to
whom, names those to whom it can be done, and has a function that does it::

    CONTENDERS = ("cacheplug", "dogpile.cache", "beaker")
    def run(contender: str, scale: Scale) -> list[Finding]: ...

A finding of ours that misses its goal fails the campaign; those of the peers
stand beside it.  ``python -m campaigns`` runs them.
"""
