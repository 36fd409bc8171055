"""The four papers, a folder each: variants, results, claims, tables, figures. And the confirmatory
study, and rivals, what is compared beyond the papers."""
