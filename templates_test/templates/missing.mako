<%inherit file="base.mako"/>\
<%namespace name="ui" file="ui.mako"/>\
<%block name="title">Not in print – The Saltmere Courier</%block>

<%def name="suggestions(wanted)" cached="True" cache_region="short">
<%ui:panel title="You may have meant" kind="related">
<ul class="links">
% for article in news.nearest(wanted):
<li><a href="${article.path}">${article.headline}</a></li>
% endfor
</ul>
</%ui:panel>
</%def>

<article class="story">
<h1>Not in print</h1>
<p class="standfirst">There is nothing at <code>${wanted}</code>. It may have
been wrapped around a fish.</p>
${suggestions(wanted)}
</article>
