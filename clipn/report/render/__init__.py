"""Turn a document into HTML, Markdown, plots and text for a terminal."""
