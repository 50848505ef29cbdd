"""Everything that knows how text is generated: the vLLM client and server, the in-process engine."""
