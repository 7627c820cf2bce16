"""Where documents come from: files and URLs (`files`), and the records of tables (`records`)."""
