"""Renderers: values in, text or a rich renderable out. Nothing here prints, and no text is trusted."""
