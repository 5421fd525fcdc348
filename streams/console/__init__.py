"""
What people look at, in a process of its own: `orderflow console`.

    serving     the process
    web         the application: every page there is, with the right it needs
    page        one page: who asks, whether they may, what is said when it cannot be
    accounts    users, passwords, sessions, and who did what (PostgreSQL, a role of its own)
    live        what open pages are told: that something changed, and how old the data are
    signing     log-in, log-out, one's own password
    orders, order, annotations, shipping, stock, exceptions, watching, imports, mappings,
    subscribers, definitions, users, audit
                the pages
    uploads     a form with a file in it
    files       a list that is taken away
    terms       every word that is shown, in Chinese and English

Promises. It changes orders, stock and exceptions in no way but by the commands and functions that
the command line and the operations API use. Nothing is shown to whom it is not meant for: a page
names its right or the process does not start, and what is personal is masked until somebody who may
asks for it, which is on record. Every action is on record before it is done.
"""
