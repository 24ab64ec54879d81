## Frames for other templates' content.  What they enclose is their caller's,
## so they are not cached.

<%def name="panel(title, kind='')">
<section class="panel ${kind}">
<h2>${title}</h2>
${caller.body()}
</section>
</%def>
