"""A batch's report: figures and answers in, one HTML page, qc.json and tables out.

- `batch_report.figures(batch_id, answers, pairs, quality, ...)`: all figures, as a `BatchReport`.
- `gate.gate(alphas, flags, quality, ...)`: open, held or accepted, with the reasons.
- `page.write_report(report, answers, pairs, ...)`: the page.
- `files.write_folder(folder, report, page)`: the page, qc.json and CSV files; `files.tables(report)`: DataFrames.
- `judgments_file.check_file(path, quality, ...)`: all of it for a CSV file of judgments.
"""
