"""Spaces, operations, tasks and searchers from other packages.

A plugin is a module that registers its additions when it is imported:

    from nas.plugins import register_space

    register_space("theirs", make_space)

A module without a package is imported by ``plugins=[my_module]`` or ``plugins=[folder/my_module.py]``. An installed
package declares an entry point with the name that its module registers. A command imports the module only if the run
uses this name, so that a broken plugin does not stop other runs:

    [project.entry-points."nas.spaces"]
    theirs = "their_package.spaces"

The groups of entry points are ``nas.spaces``, ``nas.operations``, ``nas.tasks`` and ``nas.searchers``. YAML files are
in a folder ``conf`` in the package, or beside the module: ``conf/space/theirs.yaml`` makes ``+space=theirs`` work.
"""

from nas.plugins.registry import register_operation, register_searcher, register_space, register_task

__all__ = ["register_operation", "register_searcher", "register_space", "register_task"]
