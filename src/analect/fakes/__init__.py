"""Contract servers of outside services, for tests: ours and those of applications built on analect.

They speak the real wire contract, so the vendor's own SDK drives them unchanged; nothing of analect imports them.
"""
