"""Methods that are anybody's own files: read, named by their content, copied beside configs that name them, and run.

A file is given by its path on a command line. Its content is then kept in this process, under the name that configs have for it
(`sources`), and a copy is put into the folder `methods` beside a config file, where it is found again: in a run's folder, in a
study's, in an export's (`copies`). So a run needs no original.

A method is code. That which was given by path here is run. A copy that came with a folder may be a stranger's: it is run only if
the same content was once given by path on this machine, or where NGPTLAB_TRUST_METHODS says so (`running`). Imports no torch;
the methods themselves do.
"""
