"""LLM event streams: decode, accumulate, transcode and forward."""
