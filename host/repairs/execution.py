"""Execution: what workflows deliver, jobs that are waited for, loops, and explorations without a window."""

from __future__ import annotations

import re

from host.repairs.edits import Edit, Repair

# ---- what explorations in batch mode do besides ----

_FAILED = """\
def exploration_failed(locator, pe_id, errors):
    \"\"\"What run_parameter_exploration returns if some cells failed.

    errors: a list of a cell (column, row, sheet) and its ModuleError.
    \"\"\"
    where = ['column %d, row %d, sheet %d' % tuple(i + 1 for i in cell)
             for cell, error in errors]
    return (locator, pe_id,
            '%d cell%s failed; the first is %s: %s' % (
                    len(set(where)), '' if len(set(where)) == 1 else 's',
                    where[0], debug.format_exception(errors[0][1])),
            '\\n'.join('%s: %s' % (each, debug.format_exception(error))
                      for each, (cell, error) in zip(where, errors)))

"""

_WITHOUT_QT = """\
    else:
        from vistrails.core.interpreter.default import get_default_interpreter
        from vistrails.core.param_explore import \\
            ActionBasedParameterExploration, _pipelinePositions
        try:
            v, abstractions, thumbnails, mashups = load_vistrail(locator)
            controller = VistrailController(v, locator, abstractions,
                                            thumbnails, mashups)
            try:
                pe = v.get_paramexp(int(pe_id))
            except ValueError:
                pe = v.get_named_paramexp(pe_id)
            controller.change_selected_version(pe.action_id)
            controller.flush_delayed_actions()
            pipeline = controller.current_pipeline
            actions, pre_actions, pe_vars = pe.collectParameterActions(pipeline)
            pipelines, performed = ActionBasedParameterExploration().explore(
                    pipeline, actions, pre_actions)
            columns, rows, sheets = [max(1, len(a)) for a in actions[:3]]
            variables = dict((var.uuid, var)
                             for var in controller.get_vistrail_variables()
                             if var.uuid not in pe_vars)
            jobs = controller.jobMonitor
            errors = []
            for each, done, (row, column, sheet) in zip(
                    pipelines, performed,
                    _pipelinePositions(sheets, rows, columns, pipelines)):
                # The names that explorations in the window have.
                cell = '%s_%s_%s' % (row, column, sheet)
                job = 'Parameter Exploration %s %s %s' % (
                        controller.current_version, pe.id, cell)
                jobs.startWorkflow(next((known for known in jobs.workflows.values()
                                         if known.version == job), None)
                                   or JobWorkflow(job))
                try:
                    result = get_default_interpreter().execute(
                            each, locator=locator, job_monitor=jobs,
                            current_version=controller.current_version,
                            reason='Parameter Exploration %s %s' % (pe_id, cell),
                            logger=controller.get_logger(), actions=done,
                            extra_info=extra_info,
                            vistrail_variables=lambda x: variables.get(x, None))
                finally:
                    jobs.finishWorkflow()
                errors.extend(((column, row, sheet), error)
                              for error in result.errors.values())
            if errors:
                return exploration_failed(locator, pe_id, errors)
        except Exception as e:
            return (locator, pe_id,
                    debug.format_exception(e), debug.format_exc())
"""

# Connections that upgrades have made anew are matched, within each module's upgrade, with those that they replace.
_KEEP_ORDER = """\
    @staticmethod
    def keep_order(controller, before, pipeline, actions):
        \"\"\"Actions that bring connections of one port into the order that they had.\"\"\"
        ends = {c.id: {'source': c.source.moduleId,
                       'destination': c.destination.moduleId}
                for c in before.connections.values()}
        rank = {c_id: c_id for c_id in ends}
        for action in actions:
            gone, made, modules = [], [], set()
            for op in action.operations:
                if op.what == 'module' and op.vtType == 'delete':
                    modules.add(op.objectId)
                elif op.what == 'connection':
                    (gone if op.vtType == 'delete' else made).append(op.objectId)
                elif op.what == 'port' and op.vtType == 'add':
                    ends.setdefault(op.parentObjId, {})[op.data.type] = op.data.moduleId
            gone.sort(key=lambda c_id: rank.get(c_id, c_id))
            for c_id in made:
                for old_id in gone:
                    if any(ends[old_id][end] not in modules and
                           ends[old_id][end] == ends[c_id][end]
                           for end in ('source', 'destination')):
                        rank[c_id] = rank.get(old_id, old_id)
                        gone.remove(old_id)
                        break
        ports = {}
        for c_id in sorted(pipeline.connections):
            c = pipeline.connections[c_id]
            ports.setdefault((c.destination.moduleId, c.destination.name), []).append(c)
        ops = []
        for found in ports.values():
            wanted = sorted(found, key=lambda c: rank.get(c.id, c.id))
            while found and found[0] is wanted[0]:
                del found[0], wanted[0]
            ops += [('delete', c) for c in wanted]
            ops += [('add', UpgradeWorkflowHandler.create_new_connection(
                        controller, pipeline.modules[c.source.moduleId], c.source,
                        pipeline.modules[c.destination.moduleId], c.destination))
                    for c in wanted]
        return [vistrails.core.db.action.create_action(ops)] if ops else []

"""

REPAIRS = (
    Repair(
        name="outputs of a Group",
        since="any",
        reason="Debian's patch turned `is not` into `==`, so that a Group delivers None on every port.",
        edits=(Edit("core/modules/sub_module.py", "if oport_name == 'self':", "if oport_name != 'self':"),),
    ),
    Repair(
        name="jobs: signatures",
        since="any",
        reason="A module's signature names its jobs in JSON, which takes text only; in VisTrails 2 it was text.",
        edits=(
            Edit(
                "core/interpreter/cached.py",
                "base64.b16encode(new_sig).lower()",
                "base64.b16encode(new_sig).lower().decode()",
            ),
            Edit(
                "core/modules/vistrails_module.py",
                "                    inputPort_hash.digest()))\n",
                "                    inputPort_hash.digest())).decode()\n",
            ),
            Edit(
                "packages/controlflow/looping.py",
                re.compile(r"( +inputPort_hash\.digest\(\)\))\)\n"),
                r"\1).decode()\n",
                times=2,
            ),
            Edit("gui/job_monitor.py", "self.job.id.decode()", "self.job.id"),
            Edit("gui/job_monitor.py", "self.id.decode()", "self.id"),
        ),
    ),
    Repair(
        name="controlflow: For's signature",
        since="any",
        reason="For hashed the name of its input port as text.",
        edits=(
            Edit(
                "packages/controlflow/looping.py",
                "inputPort_hash.update(name_input)",
                "inputPort_hash.update(name_input.encode())",
            ),
        ),
    ),
    Repair(
        name="batch mode: errors in any terminal",
        since="Python 3.0",
        reason="An error with a letter in it that the terminal's encoding lacks (LC_ALL=C) ended VisTrails with another error.",
        edits=(
            Edit(
                "gui/application.py",
                "                        print(err)\n",
                "                        encoding = sys.stdout.encoding or 'utf-8'\n"
                "                        print(repr(err).encode(encoding, 'backslashreplace').decode(encoding))\n",
            ),
        ),
    ),
    Repair(
        name="parameter explorations: variables",
        since="any",
        reason=(
            "An exploration has no controller that knows the vistrail's variables when a cell is validated, so that none was"
            " executed whose workflow has a variable that is not itself explored."
        ),
        edits=(
            Edit(
                "core/interpreter/cached.py",
                "        else:\n            pipeline.validate()\n\n        self.resolve_aliases(pipeline, aliases)\n",
                "        else:\n"
                "            if vistrail_variables:\n"
                "                self.resolve_variables(vistrail_variables, pipeline)\n"
                "            pipeline.validate()\n"
                "\n"
                "        self.resolve_aliases(pipeline, aliases)\n",
            ),
        ),
    ),
    Repair(
        name="parameter explorations in batch mode",
        since="any",
        reason=(
            "Without a window there is nobody to notify; a cell's errors were dropped; and without Qt nothing was run, nor was"
            " that said."
        ),
        edits=(
            Edit(
                "gui/vistrail_controller.py",
                "            _app.notify('execution_updated')\n            return errors\n",
                "            if _app is not None:\n"
                "                _app.notify('execution_updated')\n"
                "            return errors\n",
            ),
            Edit(
                "gui/vistrail_controller.py",
                "                        if use_spreadsheet:\n"
                "                            pp = pipelinePositions[pi]\n"
                "                            errors.append(((pp[1], pp[0], pp[2]), error))\n"
                "                        else:\n"
                "                            errors.append(((0,0,0), error))\n",
                "                        pp = pipelinePositions[pi]\n"
                "                        errors.append(((pp[1], pp[0], pp[2]), error))\n",
            ),
            Edit(
                "core/console_mode.py",
                "            controller.executeParameterExploration(pe, extra_info=extra_info,\n"
                "                                                   showProgress=False)\n",
                "            errors = controller.executeParameterExploration(\n"
                "                    pe, extra_info=extra_info, showProgress=False)\n"
                "            if errors:\n"
                "                return exploration_failed(locator, pe_id, errors)\n",
            ),
            Edit(
                "core/console_mode.py",
                "            return (locator, pe_id,\n"
                "                    debug.format_exception(e), debug.format_exc())\n",
                "            return (locator, pe_id,\n"
                "                    debug.format_exception(e), debug.format_exc())\n" + _WITHOUT_QT,
            ),
            Edit(
                "core/console_mode.py",
                "def run_parameter_exploration(locator,",
                _FAILED + "def run_parameter_exploration(locator,",
            ),
        ),
    ),
    Repair(
        name="another version after one that does not fit",
        since="any",
        reason=(
            "From a workflow that could be upgraded only in part, and was run all the same, no other version was reached: the way"
            " there took back what had not been done to it. It counted as whole if it was made from one that is."
        ),
        edits=(
            Edit(
                "core/vistrail/controller.py",
                "            if use_current:\n                cost_to_closest_version = ",
                "            if use_current and getattr(self.current_pipeline, 'is_valid', False):\n"
                "                cost_to_closest_version = ",
            ),
            Edit(
                "core/vistrail/pipeline.py",
                "        if len(exceptions) > 0:\n            if raise_exception:\n",
                "        if len(exceptions) > 0:\n            self.is_valid = False\n            if raise_exception:\n",
            ),
        ),
    ),
    Repair(
        name="upgrades: after one that failed, another",
        since="any",
        reason=(
            "Where an older upgrade fits no more and is tried again from what it was made of, in vain, what was begun there was"
            " added to the former by the next run: a version that cannot be opened."
        ),
        edits=(
            Edit(
                "core/vistrail/controller.py",
                "            except InvalidPipeline as e:\n                while upgrade_chain:\n",
                "            except InvalidPipeline as e:\n"
                "                begun = [list(each) for each in (self._delayed_actions, self._delayed_paramexps,\n"
                "                                                 self._delayed_mashups)]\n"
                "                while upgrade_chain:\n",
            ),
            Edit(
                "core/vistrail/controller.py",
                "                # We failed, so raise exception for latest upgrade.\n",
                "                # We failed, so raise exception for latest upgrade.\n"
                "                (self._delayed_actions, self._delayed_paramexps,\n"
                "                 self._delayed_mashups) = begun\n",
            ),
        ),
    ),
    Repair(
        name="upgrades: functions without a value",
        since="any",
        reason="A function that holds nothing, of a port that is gone, sets nothing; but it kept its module from being upgraded.",
        edits=(
            Edit(
                "core/upgradeworkflow.py",
                "        UpgradeWorkflowHandler.check_upgrade(pipeline, module_id, d, \n",
                "        reg = get_module_registry()\n"
                "        function_remap = dict(function_remap or {})\n"
                "        for function in invalid_module.functions:\n"
                "            if not (function.parameters or\n"
                "                    reg.has_port_spec_from_descriptor(d, function.name, 'input') or\n"
                "                    invalid_module.has_portSpec_with_name((function.name, 'input'))):\n"
                "                function_remap.setdefault(function.name)\n"
                "        UpgradeWorkflowHandler.check_upgrade(pipeline, module_id, d, \n",
            ),
        ),
    ),
    Repair(
        name="upgrades: the order of functions",
        since="any",
        reason=(
            "A function that an upgrade renames by code came one place too late: after the next function. VTK's filters call them"
            " in their order."
        ),
        edits=(
            Edit(
                "core/upgradeworkflow.py",
                "                    function_ops.extend(remap(function, new_module))\n",
                "                    for op in remap(function, new_module):\n"
                "                        if (op[0] == 'add' and op[1].vtType == 'function' and\n"
                "                                op[2:] in ((), ('module', new_module.id))):\n"
                "                            op[1].pos = new_module.getNumFunctions()\n"
                "                            new_module.add_function(op[1])\n"
                "                        else:\n"
                "                            function_ops.append(op)\n",
            ),
        ),
    ),
    Repair(
        name="upgrades: what is in a Group",
        since="any",
        reason=(
            "The errors of a Group's workflow were given the numbers of a copy's modules, but the workflow itself was upgraded:"
            " where it had been upgraded before, what was added took the place of others, and it opened in some orders only."
        ),
        edits=(
            Edit(
                "core/vistrail/controller.py",
                "                            self.handle_invalid_pipeline(err,\n",
                "                            self.handle_invalid_pipeline(InvalidPipeline(\n"
                "                                                        new_exception_set, new_pipeline,\n"
                "                                                        err._version),\n",
            ),
        ),
    ),
    Repair(
        name="upgrades: the order of connections",
        since="any",
        reason=(
            "Modules were upgraded in the order of their errors in a set, and each makes its connections anew, so that those of one"
            " port came in another order at each start: the difference of two things was that of the second and the first."
        ),
        edits=(
            Edit(
                "core/upgradeworkflow.py",
                "    @staticmethod\n    def replace_group(",
                _KEEP_ORDER + "    @staticmethod\n    def replace_group(",
            ),
            Edit(
                "core/vistrail/controller.py",
                "                                                     cur_pipeline)\n        else:\n            new_actions = []\n",
                "                                                     cur_pipeline)\n"
                "            for action in new_actions and UpgradeWorkflowHandler.keep_order(\n"
                "                    self, e._pipeline, cur_pipeline, new_actions):\n"
                "                cur_pipeline.perform_action(action)\n"
                "                new_actions.append(action)\n"
                "        else:\n            new_actions = []\n",
            ),
        ),
    ),
    Repair(
        name="interpreter: the order of connections",
        since="any",
        reason="Those of one port were made in the order of a set of their numbers, which is not that of the numbers.",
        edits=(
            Edit(
                "core/interpreter/cached.py",
                "        for i in conn_added_set:\n",
                "        for i in sorted(conn_added_set):\n",
            ),
        ),
    ),
    Repair(
        name="Tuple: ports of several values",
        since="any",
        reason=(
            "What comes by a port of several values was one value of the tuple, which then had fewer values than its port says;"
            " VisTrails 2 checks that, and earlier ones did not."
        ),
        edits=(
            Edit(
                "core/modules/basic_modules.py",
                "        self.input_ports_order = [p.name for p in module.input_port_specs]\n\n"
                "    def compute(self):\n"
                "        values = tuple([self.get_input(p)\n"
                "                        for p in self.input_ports_order])\n",
                "        self.input_ports_order = [p.name for p in module.input_port_specs]\n"
                "        self.several = set(p.name for p in module.input_port_specs\n"
                "                           if len(p.port_spec_items) > 1)\n\n"
                "    def compute(self):\n"
                "        several = getattr(self, 'several', ())\n"
                "        values = tuple([value for p in self.input_ports_order\n"
                "                        for value in (self.get_input(p) if p in several\n"
                "                                      else [self.get_input(p)])])\n",
            ),
        ),
    ),
    Repair(
        name="upgrades: functions that are gone",
        since="any",
        reason=(
            "A library loses functions while VisTrails' package for it keeps its version. A module of that version that sets one"
            " was not upgraded, and its workflow not run."
        ),
        edits=(
            Edit(
                "core/vistrail/pipeline.py",
                "                    e._module_id = module.id\n"
                "                    exceptions.add(e)\n"
                "                pos_map = {}\n",
                "                    e._module_id = module.id\n"
                "                    e._identifier = module.package\n"
                "                    exceptions.add(e)\n"
                "                pos_map = {}\n",
            ),
            Edit(
                "core/vistrail/controller.py",
                "                      isinstance(err, MissingModuleVersion)):\n"
                "                    if err._identifier not in package_errs:\n",
                "                      isinstance(err, MissingModuleVersion) or\n"
                "                      isinstance(err, MissingFunction)):\n"
                "                    if err._identifier not in package_errs:\n",
            ),
            Edit(
                "core/vistrail/controller.py",
                "from vistrails.core.vistrail.pipeline import Pipeline\n",
                "from vistrails.core.vistrail.pipeline import MissingFunction, Pipeline\n",
            ),
        ),
    ),
    Repair(
        "files without a folder",
        "any",
        (
            "Where no output directory is set, its value is a pair of None and its type, which counted as a folder: output modules"
            " that write a file of a relative name raised a TypeError. They write into the current folder."
        ),
        edits=(
            Edit(
                "core/modules/output_modules.py",
                "                if vt_output_dir:\n",
                "                if isinstance(vt_output_dir, str) and vt_output_dir:\n",
            ),
        ),
    ),
)
