"""The participant level: one small workflow per person, none depends on another."""

from collections.abc import Sequence

from nipype.pipeline import engine as pe

from circuitshift.pipeline.records import Machine, Science
from circuitshift.workflows.plan import PersonPlan
from circuitshift.workflows.steps import MeasurePerson, ReportPerson

__all__ = ["init_participant_wf", "init_person_wf"]

#: Resources of a node, GB: streaming keeps one block of volumes; figures need more.
_MEM_GB = {"measure": 0.5, "report": 0.5}


def init_participant_wf(
    people: Sequence[PersonPlan],
    science: Science,
    machine: Machine,
    *,
    reports_only: bool = False,
    name: str = "participant_wf",
) -> pe.Workflow:
    """Build the participant level.

    Parameters
    ----------
    people : sequence of PersonPlan
    science : Science
    machine : Machine
    reports_only : bool
        Leave measuring out.
    name : str

    Returns
    -------
    Workflow
        Without edges between people, so that one person's failure stops nobody else.
    """
    workflow = pe.Workflow(name=name, base_dir=str(machine.work_dir))
    workflow.add_nodes(
        [init_person_wf(person, science, reports_only=reports_only) for person in people]
    )
    return workflow


def init_person_wf(
    person: PersonPlan, science: Science, *, reports_only: bool = False
) -> pe.Workflow:
    """Build the workflow of one person: measure, then report.

    Whether an output is still valid is decided from the output itself (its recorded inputs, code
    and settings), so nodes always run and skip what is done: deleting the work folder loses
    nothing, and deleting an output brings it back.

    Parameters
    ----------
    person : PersonPlan
    science : Science
    reports_only : bool
        Leave measuring out.

    Returns
    -------
    Workflow
    """
    workflow = pe.Workflow(name=person.node_name)
    report = pe.Node(
        ReportPerson(
            participant=person.participant,
            science=science,
            out_dir=str(person.out_dir),
            again=reports_only,
        ),
        name="report",
        mem_gb=_MEM_GB["report"],
        overwrite=True,
    )
    if reports_only:
        workflow.add_nodes([report])
        return workflow
    measure = pe.Node(
        MeasurePerson(
            runs=list(person.runs),
            faults=list(person.faults),
            participant=person.participant,
            science=science,
            out_dir=str(person.out_dir),
        ),
        name="measure",
        mem_gb=_MEM_GB["measure"],
        overwrite=True,
    )
    workflow.connect(measure, "runs", report, "runs")
    return workflow
