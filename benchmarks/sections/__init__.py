"""The sections of RESULTS.md: a page of Markdown with {{fields}}, and a Python file that fills them from rows."""
