"""Steps of participants who are measured one after the other, without a graph of Nipype."""

from collections.abc import Sequence

from circuitshift.pipeline.measure.person import ParticipantFiles, measure_participant
from circuitshift.pipeline.records import AnalysisSettings, ExecutionSettings
from circuitshift.pipeline.reports.person.inputs import ReportFile, report_participant
from circuitshift.workflows.engine.in_turn import Step
from circuitshift.workflows.plan import ParticipantPlan

__all__ = ["are_in_turn", "participant_steps"]


def are_in_turn(participants: Sequence[ParticipantPlan], execution: ExecutionSettings) -> bool:
    """Return whether participants are processed one after the other in this process.

    This is so with one process or one participant, unless raw images are preprocessed, whose steps
    form a graph, or a feature of Nipype is requested: a plugin, the image of the graph, the monitor
    of resources, or its messages.

    Parameters
    ----------
    participants : sequence of ParticipantPlan
        Participants to process.
    execution : ExecutionSettings
        Settings that affect speed only.

    Returns
    -------
    bool
    """
    needs_nipype = (
        execution.plugin_file is not None
        or execution.write_graph
        or execution.resource_monitor
        or execution.verbosity > 1
        or any(plan.raw is not None for plan in participants)
    )
    return not needs_nipype and (execution.n_procs == 1 or len(participants) == 1)


def participant_steps(
    plan: ParticipantPlan, settings: AnalysisSettings, *, reports_only: bool = False
) -> tuple[Step, ...]:
    """Return the steps that `circuitshift.workflows.participant` connects for one participant.

    Parameters
    ----------
    plan : ParticipantPlan
        Participant without raw images.
    settings : AnalysisSettings
        Settings that affect the results.
    reports_only : bool, default: False
        Whether to write the report without measuring.

    Returns
    -------
    tuple of Step
        Measuring, and the report.
    """

    def measure(_: None) -> ParticipantFiles:
        return measure_participant(
            plan.runs,
            plan.problems,
            participant=plan.participant,
            settings=settings,
            out_dir=plan.out_dir,
        )

    def report(measured: ParticipantFiles | None) -> ReportFile:
        runs = measured.runs if measured is not None else None
        return report_participant(
            plan.participant, settings, plan.out_dir, runs, again=reports_only
        )

    prefix = f"participant_wf.{plan.node_name}"
    last = Step(f"{prefix}.report", report)
    return (last,) if reports_only else (Step(f"{prefix}.measure", measure), last)
