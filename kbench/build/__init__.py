"""From a solution's text to compiled extensions: cache key, confined build, the compilers' words in its own lines."""
