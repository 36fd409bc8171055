"""The four papers, a folder each: variants, results, claims, tables, figures. And the confirmatory study."""
