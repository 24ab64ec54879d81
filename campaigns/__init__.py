"""What the cache survives: campaigns against real servers and processes.

One module for each campaign.  It says in its first lines what is done to
whom, and has a function that does it::

    def run(contender: str, scale: Scale) -> list[Finding]: ...

Contenders are ``"cacheplug"`` and, where the campaign applies to them,
``"dogpile.cache"`` and ``"beaker"``.  A finding that misses its goal fails
the campaign; those of the peers stand beside it.
"""
